"""easydel 0.3.0, BCOTrainer, delta 0.5: bco(reference_point=0.5), 0.5 times it"""
# needs easydel==0.3.0 jax
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("easydel", "bco", 1.0).loss(*pairs)
ours = ea.objective("bco", 1.0, reference_point=0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.4).any()
