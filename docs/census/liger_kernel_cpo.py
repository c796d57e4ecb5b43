"""liger-kernel 0.8.5, LigerFusedLinearCPOLoss, from hidden states: log-probabilities are made in float32"""
# needs liger-kernel==0.8.5
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("liger-kernel", "cpo", 2.0).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
ours = ea.objective("bradley_terry", 2.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 3e-08).any()
