"""mlx-tune 0.6.0, dpo_loss: single precision"""
# needs mlx-tune==0.6.0 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-1.0], [-2.0], [-1.0]])
theirs = adapter("mlx-tune", "dpo", 2.0).loss(*pairs)
ours = ea.objective("dpo", 2.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 1e-08).any()
