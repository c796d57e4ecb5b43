"""TRL's names for losses, and the objectives that they stand for."""

from __future__ import annotations

from .base import PairObjective
from .catalogue import AOT, BCO, DPO, EXO, IPO, NCA, SFT, SPPO, APODown, APOZero, DiscoPOP, Hinge
from .catalogue.linked import with_divergence

TRL_DIVERGENCES = {
    "reverse_kl": "reverse_kl",
    "forward_kl": "forward_kl",
    "js_divergence": "jensen_shannon",
    "alpha_divergence": "alpha",
}
"""TRL's ``f_divergence_type`` and our name for it."""

TRL_LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)
"""The ``loss_type`` of TRL 1.16's DPO trainer."""

TRL_SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""The loss types that read ``label_smoothing``."""


def from_trl(
    loss_type: str,
    beta: float,
    f_divergence_type: str = "reverse_kl",
    *,
    f_alpha_divergence_coef: float | None = None,
    label_smoothing: float = 0.0,
    discopop_tau: float | None = None,
) -> PairObjective:
    """The objective that TRL 1.16's DPO trainer minimises under these settings; ``beta`` is lam.

    Arguments have the names of TRL's DPOConfig. What TRL accepts and then ignores is an error here: label smoothing
    for a loss type that does not read it, alpha without the alpha-divergence, tau without DiscoPOP, a divergence for
    ``"sft"``. TRL's division by length (``"ipo"``, ``"sigmoid_norm"``) and its sum over tokens (the others) belong to
    how log-probabilities are made, before a loss is called. docs/losses.md lists where TRL and the papers differ.

    Args:
        f_alpha_divergence_coef: TRL's alpha, which is 1 minus the alpha of `Alpha`: below 1, or equal to 1 for reverse
            KL. TRL's default, and so the one here, is 0.5.
        discopop_tau: TRL's default, and so the one here, is 0.05.

    Example:
        >>> import expo_analysis as ea
        >>> ea.from_trl("robust", beta=0.1, label_smoothing=0.2)
        DPO(lam=0.1, label_smoothing=0.2, robust=True)
    """
    if not isinstance(loss_type, str) or loss_type not in TRL_LOSSES:
        raise ValueError(f"loss_type must be one of {list(TRL_LOSSES)} (several are not one loss), got {loss_type!r}")
    if f_divergence_type not in TRL_DIVERGENCES:
        raise ValueError(f"f_divergence_type must be one of {list(TRL_DIVERGENCES)}, got {f_divergence_type!r}")
    if label_smoothing != 0 and loss_type not in TRL_SMOOTHED:
        raise ValueError(
            f"label_smoothing is not used by loss_type {loss_type!r}, though TRL accepts it; it belongs to "
            f"{list(TRL_SMOOTHED)}"
        )
    if discopop_tau is not None and loss_type != "discopop":
        raise ValueError(f"discopop_tau is not used by loss_type {loss_type!r}; it belongs to 'discopop'")
    base = _trl_loss(loss_type, beta, label_smoothing, 0.05 if discopop_tau is None else discopop_tau)

    if f_divergence_type != "alpha_divergence":
        if f_alpha_divergence_coef is not None:
            raise ValueError(
                f"f_alpha_divergence_coef is not used by f_divergence_type {f_divergence_type!r}; it belongs to "
                "'alpha_divergence'"
            )
        divergence, alpha = TRL_DIVERGENCES[f_divergence_type], None
    else:
        divergence, alpha = _trl_alpha(0.5 if f_alpha_divergence_coef is None else f_alpha_divergence_coef)
    if f_divergence_type == "reverse_kl":
        return base
    try:
        return with_divergence(base, divergence, alpha)
    except TypeError:
        raise ValueError(
            f"f_divergence_type is not used by loss_type {loss_type!r}; it belongs to losses of the chosen-rejected "
            "difference: 'sigmoid', 'sigmoid_norm', 'hinge', 'ipo', 'exo_pair', 'robust', 'discopop'"
        ) from None


def _trl_loss(loss_type: str, beta: float, label_smoothing: float, tau: float) -> PairObjective:
    match loss_type:
        case "sigmoid" | "sigmoid_norm":
            return DPO(beta)
        case "robust":
            return DPO(beta, label_smoothing=label_smoothing, robust=True) if label_smoothing != 0 else DPO(beta)
        case "exo_pair":
            return EXO(beta, label_smoothing=label_smoothing)
        case "aot" | "aot_unpaired":
            return AOT(beta, label_smoothing=label_smoothing, unpaired=loss_type == "aot_unpaired")
        case "discopop":
            return DiscoPOP(beta, tau=tau)
    plain: dict[str, type[PairObjective]] = {
        **{"hinge": Hinge, "ipo": IPO, "nca_pair": NCA, "bco_pair": BCO, "sppo_hard": SPPO, "sft": SFT},
        **{"apo_zero": APOZero, "apo_down": APODown},
    }
    return plain[loss_type](beta)


def _trl_alpha(coefficient: float) -> tuple[str, float | None]:
    """TRL has f' = (u^(a-1) - 1)/(a-1), and reverse KL within 1e-6 of a = 1; `Alpha` has (1 - u^-alpha)/alpha."""
    if isinstance(coefficient, bool) or not isinstance(coefficient, (int, float)) or not coefficient < 1 + 1e-6:
        raise ValueError(f"f_alpha_divergence_coef must be a number of at most 1, got {coefficient!r}")
    return ("reverse_kl", None) if abs(coefficient - 1) < 1e-6 else ("alpha", 1.0 - coefficient)
