"""mlx-lm-lora 5.10.2, dpo_loss, dpop, delta 50: the penalty stands outside of the sigmoid, and beta does not multiply it"""
# needs mlx-lm-lora==5.10.2 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("mlx-lm-lora", "dpo_dpop", 1.0).loss(*pairs)
ours = ea.objective("dpop", 1.0, penalty=50.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
