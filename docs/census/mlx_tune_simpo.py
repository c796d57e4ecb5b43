"""mlx-tune 0.6.0, simpo_loss, gamma 0.5, prompt of one token: beta multiplies gamma too; means divide by the prompt's tokens too"""
# needs mlx-tune==0.6.0 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-1.0], [-1.0], [-1.0]])
theirs = adapter("mlx-tune", "simpo", 1.0).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
ours = ea.objective("simpo", 1.0, gamma=0.5).loss(*pairs, length_l=np.array([1.0]), length_w=np.array([2.0]))
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.09).any()
