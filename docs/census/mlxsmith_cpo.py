"""mlxsmith 0.1.9, cpo_loss: bradley_terry, where it is finite; inf at a log-ratio of -2000, where ours is 500"""
# needs mlxsmith==0.1.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0, -1001.0], [-0.5, -1.0], [-2.0, -1.0], [-2.0, -1001.0]])
theirs = adapter("mlxsmith", "cpo", 0.5).loss(*pairs)
ours = ea.objective("bradley_terry", 0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 2e-08).any()
