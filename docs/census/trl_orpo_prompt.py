"""trl 1.16.0, ORPOTrainer, prompts of two tokens: the likelihood is a mean over the tokens of prompt and response; odds are taken in float32"""
# needs trl==1.16.0 trl==1.16.0
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("trl", "orpo_prompt", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
ours = ea.objective("orpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([1.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.08).any()
