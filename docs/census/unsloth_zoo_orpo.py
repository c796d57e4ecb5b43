"""unsloth-zoo 2026.10.9, ORPO, odds of means: odds are taken in float32"""
# needs unsloth-zoo==2026.10.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-0.5], [-0.5], [-0.5], [-0.5]])
theirs = adapter("unsloth-zoo", "orpo", 2.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("orpo", 2.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 3e-08).any()
