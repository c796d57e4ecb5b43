"""areal 1.0.4, dpo_preference_loss, sigmoid: single precision"""
# needs areal==1.0.4
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-2.0]])
theirs = adapter("areal", "dpo", 1.0).loss(*pairs)
ours = ea.objective("dpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 3e-08).any()
