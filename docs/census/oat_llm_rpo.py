"""oat-llm 0.2.4, DPOLoss, sft_weight 1: the likelihood is a mean over tokens, the preference term takes sums"""
# needs oat-llm==0.2.4
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("oat-llm", "rpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("rpo", 1.0, alpha=1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
