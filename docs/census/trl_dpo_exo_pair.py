"""trl 1.16.0, DPOTrainer, exo_pair: the logarithms of the smoothing are taken in float32"""
# needs trl==1.16.0 trl==1.16.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-2.0], [-1.0]])
theirs = adapter("trl", "dpo_exo_pair", 1.0).loss(*pairs)
ours = ea.objective("exo", 1.0, label_smoothing=0.001).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 1e-08).any()
