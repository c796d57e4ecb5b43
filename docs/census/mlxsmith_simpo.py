"""mlxsmith 0.1.9, simpo_loss, margin 0.5: beta multiplies the margin too"""
# needs mlxsmith==0.1.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("mlxsmith", "simpo", 0.5).loss(*pairs)
ours = ea.objective("simpo", 0.5, gamma=0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.07).any()
