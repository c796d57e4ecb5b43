"""mlxsmith 0.1.9, kto_loss: log sigma in place of sigma: at its default powers it is BCO without a reference point; inf at a log-ratio of -200, where ours is 2"""
# needs mlxsmith==0.1.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0, -101.0], [-1.0, -1.0], [-1.0, -1.0], [-1.0, -101.0]])
theirs = adapter("mlxsmith", "kto", 1.0).loss(*pairs)
ours = ea.objective("kto", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
