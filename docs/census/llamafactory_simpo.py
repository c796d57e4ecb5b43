"""llamafactory 0.9.5, simpo_loss, simpo_gamma 0.5, from logits: log-probabilities are made in float32"""
# needs llamafactory==0.9.5
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("llamafactory", "simpo", 1.0).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
ours = ea.objective("simpo", 1.0, gamma=0.5).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 3e-08).any()
