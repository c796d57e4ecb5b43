"""trl 1.16.0, DPOTrainer, sigmoid, f_divergence_type alpha_divergence: a KeyError in float64; given float32 here; 2.216e+35 at a log-ratio of -2000, where ours is 5.614e+217"""
# needs trl==1.16.0 trl==1.16.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0, -1001.0], [-1.0, -1.0], [-1.0, -1.0], [-1.0, -1001.0]])
theirs = adapter("trl", "fdpo_alpha", 2.0).loss(*pairs)
ours = ea.objective("fdpo", 2.0, divergence='alpha', alpha=0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 2e-07).any()
