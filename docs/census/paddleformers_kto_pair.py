"""paddleformers 1.2.0, cal_dpo_loss, kto_pair, batches of one, times 2: its KL estimates are means over the batch's own pairs, and not detached: at one pair, the other response's log-ratio with its gradient"""
# needs paddleformers==1.2.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-2.0]])
theirs = adapter("paddleformers", "kto_pair", 1.0).loss(*pairs)
ours = ea.objective("kto", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.1).any()
