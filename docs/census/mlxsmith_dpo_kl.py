"""mlxsmith 0.1.9, dpo_loss, kl_coeff 0.5: its penalty is the winner's log-ratio, so that it pushes winners down without end"""
# needs mlxsmith==0.1.9 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-2.0], [-1.0]])
theirs = adapter("mlxsmith", "dpo_kl", 1.0).loss(*pairs)
ours = ea.objective("dpo", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.3).any()
