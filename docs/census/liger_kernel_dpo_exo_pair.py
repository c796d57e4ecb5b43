"""liger-kernel 0.8.5, LigerFusedLinearDPOLoss, exo_pair: the logarithm of the smoothing is taken in float32"""
# needs liger-kernel==0.8.5
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-2.0], [-1.0]])
theirs = adapter("liger-kernel", "dpo_exo_pair", 1.0).loss(*pairs)
ours = ea.objective("exo", 1.0, label_smoothing=0.001).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 1e-08).any()
