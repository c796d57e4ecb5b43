"""opake-alignment 0.16.1, sigmoid_loss of f_divergence_remap, forward_kl: 5.541e+34 at a log-ratio of -200, where ours is 2.688e+43"""
# needs opake-alignment==0.16.1 opake-engine opake-base
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-101.0], [-1.0], [-1.0], [-101.0]])
theirs = adapter("opake-alignment", "fdpo_forward_kl", 1.0).loss(*pairs)
ours = ea.objective("fdpo", 1.0, divergence='forward_kl').loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 1e+43).any()
