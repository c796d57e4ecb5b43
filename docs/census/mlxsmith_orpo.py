"""mlxsmith 0.1.9, orpo_loss: no odds: a log-ratio of sums"""
# needs mlxsmith==0.1.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-2.0], [-1.0], [-1.0]])
theirs = adapter("mlxsmith", "orpo", 1.0).loss(*pairs)
ours = ea.objective("orpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.04).any()
