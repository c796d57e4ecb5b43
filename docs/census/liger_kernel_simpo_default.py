"""liger-kernel 0.8.5, LigerFusedLinearSimPOLoss, gamma 0.5, its default otherwise, from hidden states: by default it adds the winner's mean negative log-likelihood"""
# needs liger-kernel==0.8.5
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("liger-kernel", "simpo_default", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("simpo", 1.0, gamma=0.5).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.5).any()
