"""unsloth-zoo 2026.10.9, DPO, apo_down: single precision"""
# needs unsloth-zoo==2026.10.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-2.0], [-0.5], [-0.5]])
theirs = adapter("unsloth-zoo", "dpo_apo_down", 0.5).loss(*pairs)
ours = ea.objective("apo_down", 0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 8e-09).any()
