"""turbo-alignment 0.0.4, ASFTLoss of means: another loss, ASFT: odds of winner and loser in sigmoids of their own"""
# needs turbo-alignment==0.0.4
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("turbo-alignment", "asft", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.4).any()
