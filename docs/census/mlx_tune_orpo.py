"""mlx-tune 0.6.0, orpo_loss, prompt of one token, response of one: no odds: the log-ratio of sums stands for log odds; means divide by the prompt's tokens too"""
# needs mlx-tune==0.6.0 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("mlx-tune", "orpo", 1.0).loss(*pairs)
ours = ea.objective("orpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
