"""ms-swift 4.6.0, DPOTrainer.dpo_loss, discopop: nan at a log-ratio of -2000, where ours is 2000"""
# needs ms-swift==4.6.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1001.0], [-1.0], [-1.0], [-1001.0]])
theirs = adapter("ms-swift", "discopop", 1.0).loss(*pairs)
ours = ea.objective("discopop", 1.0, tau=0.05).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.5).any()
