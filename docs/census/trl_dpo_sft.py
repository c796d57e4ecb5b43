"""trl 1.16.0, DPOTrainer, sft: divides by the tokens of the whole batch, so that long responses weigh more: at one pair, a mean over its tokens"""
# needs trl==1.16.0 trl==1.16.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("trl", "dpo_sft", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("sft", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
