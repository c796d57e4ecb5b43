"""mlx-lm-lora 5.10.2, online_dpo_loss, sigmoid: single precision"""
# needs mlx-lm-lora==5.10.2 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-2.0], [-2.0], [-0.5]])
theirs = adapter("mlx-lm-lora", "online_dpo_sigmoid", 1.0).loss(*pairs)
ours = ea.objective("dpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 9e-09).any()
