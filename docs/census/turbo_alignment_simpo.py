"""turbo-alignment 0.0.4, SimPOLoss of means, gamma 0.5: its gamma is gamma/beta of the paper: beta multiplies it too"""
# needs turbo-alignment==0.0.4
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("turbo-alignment", "simpo", 0.5).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("simpo", 0.5, gamma=0.5).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.07).any()
