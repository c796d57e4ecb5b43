"""agilerl 2.58.0, DPO, nll_alpha 1, its default: by default it adds the winners' mean negative log-likelihood: it is RPO, with a mean over tokens"""
# needs agilerl==2.58.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("agilerl", "dpo_default", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("dpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.5).any()
