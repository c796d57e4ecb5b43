"""mlxsmith 0.1.9, ipo_loss: single precision"""
# needs mlxsmith==0.1.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-3.492863922119067], [-10.35653004826662], [-0.28573116437016655], [-8.69867108468599]])
theirs = adapter("mlxsmith", "ipo", 1.0).loss(*pairs)
ours = ea.objective("ipo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 2e-15).any()
