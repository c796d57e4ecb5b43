"""ludwig 0.17.10, dpo_loss, ipo: beta multiplies the log-ratio while the target stays 1/(2 beta), so that beta acts as its square; ipo, lam^2 times it, at lam^2 in the place of lam"""
# needs ludwig==0.17.10
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-2.0]])
theirs = adapter("ludwig", "ipo", 0.5).loss(*pairs)
ours = ea.objective("ipo", 0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.9).any()
