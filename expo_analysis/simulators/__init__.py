"""Training, simulated: what gradients on finite data reach, beside the exact optima of `expo_analysis.optima`."""

from .asymptotics import Asymptotics, asymptotics
from .autoregressive import NGram, Transformer
from .optimisers import SGD, Adam
from .policies import LogLinear, Policy, Tabular
from .prompted import PromptedTransformer, TangentTransformer, fit_texts
from .sampling import Pairs, draw_pairs
from .training import Training, train
from .trajectory import Trajectory

__all__ = [
    "SGD",
    "Adam",
    "Asymptotics",
    "LogLinear",
    "NGram",
    "Pairs",
    "Policy",
    "PromptedTransformer",
    "Tabular",
    "TangentTransformer",
    "Training",
    "Trajectory",
    "Transformer",
    "asymptotics",
    "draw_pairs",
    "fit_texts",
    "train",
]
