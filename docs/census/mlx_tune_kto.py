"""mlx-tune 0.6.0, kto_loss: no KL estimate, and log sigma in place of sigma: it is BCO without a reference point"""
# needs mlx-tune==0.6.0 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("mlx-tune", "kto", 1.0).loss(*pairs)
ours = ea.objective("kto", 1.0).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.2).any()
