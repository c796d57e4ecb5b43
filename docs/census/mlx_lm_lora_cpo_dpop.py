"""mlx-lm-lora 5.10.2, cpo_loss, dpop, delta 50: a loss without a reference of its own: the penalty compares with the loser"""
# needs mlx-lm-lora==5.10.2 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("mlx-lm-lora", "cpo_dpop", 1.0).loss(*pairs)
ours = ea.objective("bradley_terry", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 3e+01).any()
