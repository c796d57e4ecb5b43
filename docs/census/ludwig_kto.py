"""ludwig 0.17.10, kto_loss, batches of one, times 2: its KL estimate is the mean absolute log-ratio of the batch's own responses, and not detached"""
# needs ludwig==0.17.10
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-2.0]])
theirs = adapter("ludwig", "kto", 1.0).loss(*pairs)
ours = ea.objective("kto", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.007).any()
