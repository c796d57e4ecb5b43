"""Two published predictors of displacement, of pairs and before training, as their authors' code computes them.

Both read the reference only, and say of a pair what a step on *it* would do. Neither says anything of prompts without
pairs, of reward or of drift.

* `ches`: the centred hidden embedding similarity (Razin, Malladi et al., "Unintentional Unalignment", arXiv
  2410.08847), <h_w, h_l> - |h_w|^2 with the hidden embeddings that the output layer reads, added up over a response's
  tokens. The larger, the more the chosen response's probability is to fall.
* `band`: the disentanglement band (Chen, Wu et al., arXiv 2604.18239). A loss moves along d_w s_w - d_l s_l, s being
  the gradients of log pi of the chosen and the rejected response. With rho the cosine of the two the band is
  rho |s_l|/|s_w| <= d_w/d_l <= |s_l|/(rho |s_w|): in it the chosen response does not fall and the rejected one does not
  rise, to first order. Losses of the margin have d_w = d_l.
"""

from __future__ import annotations

import numpy as np
import torch

from ..._types import Floats
from ...simulators import Pairs, PromptedTransformer


def ches(model: PromptedTransformer, pairs: Pairs) -> Floats:
    """CHES of every pair at the model's weights, (data sets, pairs)."""
    with torch.no_grad():
        hidden = model.hidden(model.start()).numpy()
    chosen, rejected = (hidden[pairs.prompt, end] for end in (pairs.winner, pairs.loser))
    return np.asarray((chosen * (rejected - chosen)).sum(axis=-1))


def gram(model: PromptedTransformer) -> Floats:
    """<s_i, s_j> of the gradients of log pi of all responses to a prompt, (prompts, n, n)."""
    given = {name: getattr(model, name) for name in ("width", "heads", "layers", "seed")} | {"weights": model.start()}
    products = []
    for text in model.texts:
        one = PromptedTransformer(model.vocabulary, model.length, text[None], model.words, **given)
        scores = torch.func.jacrev(one.log_policy)(model.start().float())[0]
        products.append((scores @ scores.T).numpy().astype(np.float64))
    return np.array(products)


def band(products: Floats, pairs: Pairs, ratio: float = 1.0) -> tuple[Floats, Floats]:
    """By how much log(d_w/d_l) is above the band's lower edge and below its upper one, each (data sets, pairs).

    Infinite where the two gradients do not point the same way: the band then has no edges.

    Args:
        products: of `gram`. ratio: d_w/d_l.
    """
    at, won, lost = pairs.prompt, pairs.winner, pairs.loser
    chosen, rejected, both = (products[at, i, j] for i, j in ((won, won), (lost, lost), (won, lost)))
    with np.errstate(divide="ignore", invalid="ignore"):
        lower, upper = np.log(both / chosen), np.log(rejected / both)
    above, below = np.log(ratio) - lower, upper - np.log(ratio)
    return tuple(np.where(both > 0, slack, np.inf) for slack in (above, below))  # type: ignore[return-value]
