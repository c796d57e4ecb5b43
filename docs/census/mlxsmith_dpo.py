"""mlxsmith 0.1.9, dpo_loss: single precision; inf at a log-ratio of -200, where ours is 100"""
# needs mlxsmith==0.1.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0, -101.0], [-2.0, -1.0], [-0.5, -1.0], [-2.0, -101.0]])
theirs = adapter("mlxsmith", "dpo", 0.5).loss(*pairs)
ours = ea.objective("dpo", 0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 2e-08).any()
