"""oat-llm 0.2.4, DPOLoss, len_reg_alpha 0.1: another loss, R-DPO: alpha times the difference of lengths in the sigmoid"""
# needs oat-llm==0.2.4
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("oat-llm", "lr_dpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("dpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.02).any()
