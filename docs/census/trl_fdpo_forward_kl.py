"""trl 1.16.0, DPOTrainer, sigmoid, f_divergence_type forward_kl: inf at a log-ratio of -2000, where ours is 2.277e+294"""
# needs trl==1.16.0 trl==1.16.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1001.0], [-1.0], [-1.0], [-1001.0]])
theirs = adapter("trl", "fdpo_forward_kl", 1.0).loss(*pairs)
ours = ea.objective("fdpo", 1.0, divergence='forward_kl').loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.5).any()
