"""turbo-alignment 0.0.4, ORPOLoss of means: 19.97 at π_l = 1 - 1e-12, where ours is 31.49"""
# needs turbo-alignment==0.0.4
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-1e-12], [-1.0], [-1.0]])
theirs = adapter("turbo-alignment", "orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 6).any()
