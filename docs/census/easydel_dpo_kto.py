"""easydel 0.3.0, DPOTrainer, kto: it is DPO, whatever its name"""
# needs easydel==0.3.0 jax
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("easydel", "dpo_kto", 1.0).loss(*pairs)
ours = ea.objective("kto", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
