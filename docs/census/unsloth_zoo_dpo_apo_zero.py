"""unsloth-zoo 2026.10.9, DPO, apo_zero: single precision"""
# needs unsloth-zoo==2026.10.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-0.5], [-2.0], [-2.0], [-0.5]])
theirs = adapter("unsloth-zoo", "dpo_apo_zero", 0.5).loss(*pairs)
ours = ea.objective("apo_zero", 0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 2e-08).any()
