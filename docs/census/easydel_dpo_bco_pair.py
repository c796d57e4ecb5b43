"""easydel 0.3.0, DPOTrainer, bco_pair, batches of one: its reference point is the mean reward of the batch, with its gradient: of one pair the loss is twice DPO's, at half of beta; dpo, 2 times it, at 0.5 lam in the place of lam"""
# needs easydel==0.3.0 jax
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-2.0]])
theirs = adapter("easydel", "dpo_bco_pair", 1.0).loss(*pairs)
ours = ea.objective("bco", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.03).any()
