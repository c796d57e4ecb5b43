"""llamafactory 0.9.5, odds_ratio_loss, from logits: log-probabilities are made in float32, in which log(1 - p) loses digits near p = 1"""
# needs llamafactory==0.9.5
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-2.0], [-2.0], [-2.0], [-2.0]])
theirs = adapter("llamafactory", "orpo", 0.5).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
ours = ea.objective("orpo", 0.5).loss(*pairs, length_l=np.array([2.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 7e-08).any()
