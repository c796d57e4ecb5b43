"""easydel 0.3.0, CPOTrainer, simpo of means, alpha 0.25: nan at a log-ratio of 2000, where ours is -0"""
# needs easydel==0.3.0 jax
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1001.0], [-1001.0], [-1.0]])
theirs = adapter("easydel", "alpha_po", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("alpha_po", 1.0, alpha=0.25, gamma=0.5).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.5).any()
