"""liger-kernel 0.8.5, LigerFusedLinearORPOLoss, from hidden states: log-probabilities are made in float32"""
# needs liger-kernel==0.8.5
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-2.0], [-2.0], [-2.0]])
theirs = adapter("liger-kernel", "orpo", 0.5).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
ours = ea.objective("orpo", 0.5).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 7e-08).any()
