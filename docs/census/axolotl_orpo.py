"""axolotl 0.19.0, orpo_compute_loss, from logits: the likelihood is a mean over prompt, response and padding; the odds of the shorter response count one token of padding; the loss is rounded to bfloat16"""
# needs axolotl==0.19.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("axolotl", "orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.001).any()
