"""unsloth-zoo 2026.10.9, DPO, exo_pair: single precision"""
# needs unsloth-zoo==2026.10.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-2.0], [-2.0], [-0.5]])
theirs = adapter("unsloth-zoo", "dpo_exo_pair", 0.5).loss(*pairs)
ours = ea.objective("exo", 0.5, label_smoothing=0.001).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 4e-08).any()
