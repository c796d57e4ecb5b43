"""areal 1.0.4, dpo_preference_loss of means, ipo: single precision"""
# needs areal==1.0.4
import numpy as np
from expo_analysis.adapters import Ours, adapter
pairs = np.array([[-1.2997704433579191], [-1.1723779571533797], [-0.9337723735244687], [-1.200133868858444]])
theirs = adapter("areal", "ipo", 0.5).loss(*pairs, length_l=np.array([5.0]), length_w=np.array([5.0]))
ours = Ours("ipo", of_means=True).at(0.5).loss(*pairs, length_l=np.array([5.0]), length_w=np.array([5.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 8e-08).any()
