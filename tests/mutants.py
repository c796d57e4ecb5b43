"""Planted mistakes, each with the test that has to notice it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """``old``, which occurs exactly once in ``file`` (in expo_analysis/), becomes ``new``; ``test`` must then fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "flipped sign in DPO",
        "losses/catalogue/dpo.py",
        "(kept, flipped)(self.lam * hbar)",
        "(kept, flipped)(-self.lam * hbar)",
        "test_losses.py::test_by_hand[DPO]",
    ),
    Mutant(
        "lambda dropped from DPO",
        "losses/catalogue/dpo.py",
        "(kept, flipped)(self.lam * hbar)",
        "(kept, flipped)(hbar)",
        "test_losses.py::test_by_hand[DPO, lam = 2]",
    ),
    Mutant(
        "policy log-ratio in place of the relative one",
        "losses/statistics.py",
        "return logp - ref_logp",
        "return logp",
        "test_losses.py::test_by_hand[DPO]",
    ),
    Mutant(
        "sign of robust smoothing",
        "losses/catalogue/dpo.py",
        "-eps / (1 - 2 * eps)",
        "eps / (1 - 2 * eps)",
        "test_losses.py::test_by_hand[robust DPO]",
    ),
    Mutant(
        "hinge that starts at 0",
        "losses/catalogue/hinge.py",
        "HingePsi()(self.lam * hbar)",
        "HingePsi(0.0)(self.lam * hbar)",
        "test_losses.py::test_by_hand[hinge]",
    ),
    Mutant(
        "KTO without its reference point",
        "losses/catalogue/binary.py",
        "won, lost = self.lam * (log_u_w - self.reference_point)",
        "won, lost = self.lam * log_u_w",
        "test_losses.py::test_by_hand[KTO]",
    ),
    Mutant(
        "log-probabilities for log-odds",
        "numerics.py",
        "return log_p - xp.log(-expm1(below))",
        "return log_p - 0 * xp.log(-expm1(below))",
        "test_losses.py::test_by_hand[ORPO]",
    ),
    Mutant(
        "penalty of the loser in DPOP",
        "losses/catalogue/dpop.py",
        "self.penalty * shortfall_w",
        "self.penalty * type(shortfall_w)(((1.0, type(shortfall_w.parts[0][1])('l')),))",
        "test_losses.py::test_dpop_by_hand_where_the_winner_has_lost_mass",
    ),
    Mutant(
        "upper ends of optimal margins forgotten",
        "optima/methods/linear_program.py",
        "np.minimum.at(reach, (winner, loser), np.where(active, right, np.inf).min(axis=0))",
        "np.minimum.at(reach, (winner, loser), np.inf)",
        "test_optima_linear.py::test_by_hand[a chain]",
    ),
    Mutant(
        "IPO's target without its factor 1/2",
        "losses/catalogue/ipo.py",
        "hbar - 0.5 / self.lam",
        "hbar - 1.0 / self.lam",
        "test_losses.py::test_by_hand[IPO]",
    ),
    Mutant(
        "EXPO's divergence the wrong way round",
        "losses/catalogue/expo.py",
        "return ForwardKL()",
        'return resolve_divergence("reverse_kl")',
        "test_losses.py::test_risk_by_hand",
    ),
    Mutant(
        "regression target without 1/(1 + lam)",
        "losses/catalogue/expo.py",
        "miss = self.lam / (1 + self.lam) * ",
        "miss = self.lam * ",
        "test_losses.py::test_by_hand[regression EXPO]",
    ),
    Mutant(
        "lambda not applied to the regulariser",
        "losses/risk.py",
        "total + objective.lam * regulariser(log_policy, log_reference)",
        "total + regulariser(log_policy, log_reference)",
        "test_losses.py::test_risk_by_hand",
    ),
    Mutant(
        "mean over the responses for their sum",
        "divergences.py",
        "return namespace(log_policy).sum(self.terms",
        "return namespace(log_policy).mean(self.terms",
        "test_divergences.py::test_worked_values",
    ),
    Mutant(
        "Jensen-Shannon's second half without its log 2",
        "divergences.py",
        "log_sigmoid(-log_u) + math.log(2)",
        "log_sigmoid(-log_u)",
        "test_divergences.py::test_worked_values",
    ),
    Mutant(
        "logarithm of a rounded sigmoid",
        "numerics.py",
        "return logsigmoid(x)",
        "return x.sigmoid().log()",
        "test_losses_arrays.py::test_finite_far_out[dpo-torch.float64-0.7]",
    ),
    Mutant(
        "exponential without its cap",
        "numerics.py",
        "x = cap_exponent(x)\n    return namespace(x).exp(x)",
        "return namespace(x).exp(x)",
        "test_divergences.py::test_terms_and_derivatives_far_out[chi_square-torch.float64]",
    ),
    Mutant(
        "winner and loser swapped",
        "bandit/bandit.py",
        "wins = 2 * self.preference",
        "wins = 2 * (1 - self.preference)",
        "test_bandit.py::test_by_hand",
    ),
    Mutant(
        "unordered pairs counted once",
        "bandit/bandit.py",
        "wins = 2 * self.preference",
        "wins = 1 * self.preference",
        "test_bandit.py::test_by_hand",
    ),
    Mutant(
        "claim of convexity for the squared regression form",
        "losses/psi.py",
        "slopes = (0.0, 0.0)\n    decay = (1.0, 1.0)\n    lower_bound = 0.0\n",
        "slopes = (0.0, 0.0)\n    convex = True\n",
        "test_catalogue.py::test_whatever_is_not_claimed_convex_has_a_witness",
    ),
    Mutant(
        "flipped weight on the wrong side of a pair's derivative",
        "losses/psi.py",
        "self.flipped * towards - self.kept * against",
        "self.kept * towards - self.flipped * against",
        "test_optima_logistic.py::test_derivatives_against_torch_in_the_margin[dpo]",
    ),
    Mutant(
        "both directions of a pair taken for one",
        "optima/problem.py",
        "Logistic(up @ kept + down @ flipped, up @ flipped + down @ kept)",
        "Logistic(up @ kept + down @ kept, up @ flipped + down @ flipped)",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[expo-]",
    ),
    Mutant(
        "log-ratios relative to the reference where the loss is not",
        "optima/problem.py",
        "return x - self.log_reference if relative else x",
        "return x - self.log_reference",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[expo-]",
    ),
    Mutant(
        "terms inherited by a formula written anew",
        "losses/base.py",
        "return self.states_terms or (self.terms is not None and _agrees(self))",
        "return self.states_terms or self.terms is not None",
        "test_optima_logistic.py::test_a_formula_written_anew_inherits_no_terms",
    ),
    Mutant(
        "Hessian without the regulariser",
        "optima/derivatives.py",
        "curvature = curvature + (weight * policy)[high] * policy[low]",
        "curvature = curvature + 0.0 * policy[high]",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[expo-]",
    ),
    Mutant(
        "Hessian without the curvature of the softmax",
        "optima/derivatives.py",
        "shared = rows - (rows.sum(axis=0) + total) / 2 * policy",
        "shared = rows - rows.sum(axis=0) / 2 * policy",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[explicit_po-reverse_kl]",
    ),
    Mutant(
        "gradient without the normalisation of the softmax",
        "optima/derivatives.py",
        "return first - policy * total,",
        "return first - total / len(policy),",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[explicit_po-reverse_kl]",
    ),
    Mutant(
        "Newton steps of full length",
        "optima/methods/newton.py",
        "if long.any():",
        "if False:",
        "test_optima_numerics.py::test_each_damped_step_lowers_the_objective",
    ),
    Mutant(
        "error bound without the effective resistance",
        "optima/certificate.py",
        "* np.sqrt(self.resistance.max(axis=0)) * norm",
        "* norm",
        "test_optima_bounds.py::test_a_wrong_candidate_gets_a_larger_bound",
    ),
    Mutant(
        "error bound by currents without their resistance",
        "optima/certificate.py",
        "np.where(flow > 0, flow * self.resistance, 0.0)",
        "np.where(flow > 0, flow, 0.0)",
        "test_optima_bounds.py::test_a_wrong_candidate_gets_a_larger_bound",
    ),
    Mutant(
        "error bound without rounding",
        "optima/certificate.py",
        "return 2 * UNIT * (4 * rounding.slope_scale + (size[high] + size[low]) * rounding.bend) + rounding.extra",
        "return 0.0 * rounding.extra",
        "test_optima_rounding.py::test_bound_where_large_terms_cancel[complete-newton]",
    ),
    Mutant(
        "slope of a square without its factor 2",
        "losses/psi.py",
        "return 2 * m, np.full_like(m, 2.0)",
        "return m, np.full_like(m, 2.0)",
        "test_soundness.py::test_nothing_true_of_a_psi_is_refuted[square]",
    ),
    Mutant(
        "false self-concordance believed",
        "desiderata/suspicion/psi_statements.py",
        "if false.any() or jumped.any() else",
        "if jumped.any() and not false.any() else",
        "test_soundness.py::test_what_is_false_of_a_psi_is_refuted[M]",
    ),
    Mutant(
        "gradients compared with values at lambda 1 alone",
        "desiderata/suspicion/soundness.py",
        "if wrong is not None and wrong.near and not wrong.small:",
        "if wrong is not None and wrong.near and not wrong.small and lam == 1.0:",
        "test_soundness.py::test_a_gradient_is_compared_with_values_at_every_lambda",
    ),
    Mutant(
        "DPO's scores without lambda",
        "optima/methods/log_odds.py",
        "log_optimal / scale, error",
        "log_optimal + 0 * scale, error",
        "test_worked_numbers.py::test_dpo_and_rlhf_tilt_the_reference",
    ),
    Mutant(
        "components not held to their mass",
        "optima/recession.py",
        "masses[:, inside] = total * (own / own.sum(axis=1, keepdims=True))",
        "masses[:, inside] = own / own.sum(axis=1, keepdims=True) / len(self.components)",
        "test_worked_numbers.py::test_expo_on_a_disconnected_graph",
    ),
)
