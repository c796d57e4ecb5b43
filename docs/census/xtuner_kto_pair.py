"""xtuner 0.2.0, DPO, kto_pair, from logits, batches of one: its KL estimates are means over the batch's own pairs, and not detached: at one pair, the other response's log-ratio with its gradient"""
# needs xtuner==0.2.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-2.0]])
theirs = adapter("xtuner", "kto_pair", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("kto", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.1).any()
