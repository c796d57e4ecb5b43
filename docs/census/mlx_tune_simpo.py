"""mlx-tune 0.6.0, simpo_loss, gamma 0.5, prompt of one token, response of one: beta multiplies gamma too; means divide by the prompt's tokens too"""
# needs mlx-tune==0.6.0 mlx[cpu]
import numpy as np
import expo_analysis as ea
from expo_analysis.adapters import adapter
pairs = np.array([[-1.0], [-2.0], [-1.0], [-1.0]])
theirs = adapter("mlx-tune", "simpo", 1.0).loss(*pairs)
ours = ea.objective("simpo", 1.0, gamma=0.5).loss(*pairs)
print("theirs", theirs, "ours", ours, "difference", theirs - ours)
assert not (abs(theirs - ours) <= 0.1).any()
