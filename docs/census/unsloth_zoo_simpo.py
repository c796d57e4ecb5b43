"""unsloth-zoo 2026.10.9, CPO, simpo of means, simpo_gamma 0.5: single precision"""
# needs unsloth-zoo==2026.10.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-2.0], [-2.0], [-2.0]])
theirs = adapter("unsloth-zoo", "simpo", 2.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("simpo", 2.0, gamma=0.5).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 9e-09).any()
