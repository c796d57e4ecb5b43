"""liger-kernel 0.8.5, LigerFusedLinearKTOLoss, kl 0.5: kto(reference_point=0.5), 0.5 times it"""
# needs liger-kernel==0.8.5
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("liger-kernel", "kto", 1.0).loss(*pairs)
ours = ea.objective("kto", 1.0, reference_point=0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
