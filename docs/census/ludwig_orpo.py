"""ludwig 0.17.10, orpo_loss: odds are those of whole responses, the likelihood is a mean over tokens"""
# needs ludwig==0.17.10
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("ludwig", "orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
