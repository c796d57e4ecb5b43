"""opake-alignment 0.16.1, sigmoid_loss of f_divergence_remap, alpha_divergence: 1.108e+35 at a log-ratio of -2000, where ours is 2.807e+217"""
# needs opake-alignment==0.16.1 opake-engine opake-base
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1001.0], [-1.0], [-1.0], [-1001.0]])
theirs = adapter("opake-alignment", "fdpo_alpha", 1.0).loss(*pairs)
ours = ea.objective("fdpo", 1.0, divergence='alpha', alpha=0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 1e+217).any()
