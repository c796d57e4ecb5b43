"""fairseq2 0.4.6, CpoFinetuneUnit, nll_scale 1, its default: the likelihood is a mean over tokens, the preference term takes sums"""
# needs fairseq2==0.4.6
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("fairseq2", "cpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("cpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
