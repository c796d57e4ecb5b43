"""trl 1.16.0, ORPOTrainer: odds are taken in float32"""
# needs trl==1.16.0 trl==1.16.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("trl", "orpo", 2.0).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
ours = ea.objective("orpo", 2.0).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 8e-08).any()
