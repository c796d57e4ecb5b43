"""mlx-lm-lora 5.10.2, orpo_loss of means: single precision; 37.95 at π_l = 1 - 1e-12, where ours is 60.97"""
# needs mlx-lm-lora==5.10.2 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-0.5, -2.0], [-0.5, -1e-12], [-0.5, -1.0], [-0.5, -1.0]])
theirs = adapter("mlx-lm-lora", "orpo", 2.0).loss(*pairs, length_l=np.array([1.0, 1.0]), length_w=np.array([2.0, 1.0]))
ours = ea.objective("orpo", 2.0).loss(*pairs, length_l=np.array([1.0, 1.0]), length_w=np.array([2.0, 1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 2e-08).any()
