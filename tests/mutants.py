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
        "losses/dpo.py",
        "Logistic(self.lam, ",
        "Logistic(-self.lam, ",
        "test_losses.py::test_by_hand[DPO]",
    ),
    Mutant(
        "lambda dropped from DPO",
        "losses/dpo.py",
        "Logistic(self.lam, ",
        "Logistic(1.0, ",
        "test_losses.py::test_by_hand[DPO, lam = 2]",
    ),
    Mutant(
        "policy log-ratio in place of the relative one",
        "losses/base.py",
        "mu(logp_w - ref_logp_w) - mu(logp_l - ref_logp_l)",
        "mu(logp_w) - mu(logp_l)",
        "test_losses.py::test_by_hand[DPO]",
    ),
    Mutant(
        "sign of robust smoothing",
        "losses/dpo.py",
        "-eps / (1 - 2 * eps)",
        "eps / (1 - 2 * eps)",
        "test_losses.py::test_by_hand[robust DPO]",
    ),
    Mutant(
        "hinge that starts at 0",
        "losses/hinge.py",
        "hinge(1 - self.lam * margin)",
        "hinge(-self.lam * margin)",
        "test_losses.py::test_by_hand[hinge]",
    ),
    Mutant(
        "KTO without its reference point",
        "losses/binary.py",
        "won = logp_w - ref_logp_w - self.reference_point",
        "won = logp_w - ref_logp_w",
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
        "losses/dpop.py",
        "hinge(ref_logp_w - logp_w)",
        "hinge(ref_logp_l - logp_l)",
        "test_losses.py::test_dpop_by_hand_where_the_winner_has_lost_mass",
    ),
    Mutant(
        "upper ends of optimal margins forgotten",
        "optima/linear.py",
        "np.minimum.at(reach, (winner, loser), high)",
        "np.minimum.at(reach, (winner, loser), np.inf)",
        "test_optima_linear.py::test_by_hand[a chain]",
    ),
    Mutant(
        "IPO's target without its factor 1/2",
        "losses/ipo.py",
        "0.5 / self.lam",
        "1.0 / self.lam",
        "test_losses.py::test_by_hand[IPO]",
    ),
    Mutant(
        "EXPO's divergence the wrong way round",
        "losses/expo.py",
        "return ForwardKL()",
        'return resolve_divergence("reverse_kl")',
        "test_losses.py::test_risk_by_hand",
    ),
    Mutant(
        "regression target without 1/(1 + lam)",
        "losses/expo.py",
        "self.lam * sigmoid(-h_ref) / (1 + self.lam)",
        "self.lam * sigmoid(-h_ref)",
        "test_losses.py::test_by_hand[regression EXPO]",
    ),
    Mutant(
        "lambda not applied to the regulariser",
        "losses/risk.py",
        "total = total + objective.lam * objective",
        "total = total + objective",
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
        "test_losses.py::test_finite_far_out[dpo-torch.float64-0.7]",
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
        "losses/expo.py",
        'convex = self.criterion == "cross_entropy"',
        "convex = True",
        "test_catalogue.py::test_whatever_is_not_claimed_convex_has_a_witness",
    ),
    Mutant(
        "flipped weight on the wrong side of a pair's derivative",
        "losses/logistic.py",
        "self.flipped * towards - self.kept * against",
        "self.kept * towards - self.flipped * against",
        "test_optima_logistic.py::test_derivatives_against_torch_in_the_margin[dpo]",
    ),
    Mutant(
        "both directions of a pair taken for one",
        "optima/problem.py",
        "kept=up @ kept + down @ flipped, flipped=up @ flipped + down @ kept",
        "kept=up @ kept + down @ kept, flipped=up @ flipped + down @ flipped",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[expo-]",
    ),
    Mutant(
        "log-ratios relative to the reference where the loss is not",
        "optima/problem.py",
        "theta - problem.log_reference if problem.logistic.relative else theta",
        "theta - problem.log_reference",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[expo-]",
    ),
    Mutant(
        "terms inherited by a formula written anew",
        "losses/base.py",
        'return self.logistic(ref_log_ratio) if "logistic" in vars(latest) else None',
        "return self.logistic(ref_log_ratio)",
        "test_optima_logistic.py::test_a_formula_written_anew_inherits_no_terms",
    ),
    Mutant(
        "Hessian without the regulariser",
        "optima/problem.py",
        "curvature = curvature + (problem.strength * policy)[high] * policy[low]",
        "curvature = curvature + 0.0 * policy[high]",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[expo-]",
    ),
    Mutant(
        "Hessian without the curvature of the softmax",
        "optima/problem.py",
        "shared = rows - (rows.sum(axis=0) + total) / 2 * policy",
        "shared = rows - rows.sum(axis=0) / 2 * policy",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[explicit_po-reverse_kl]",
    ),
    Mutant(
        "gradient without the normalisation of the softmax",
        "optima/problem.py",
        "gradient = gradient - policy * total",
        "gradient = gradient - total / problem.n",
        "test_optima_numerics.py::test_expansion_against_torch_on_the_whole_objective[explicit_po-reverse_kl]",
    ),
    Mutant(
        "Newton steps of full length",
        "optima/newton.py",
        "if long.any():",
        "if False:",
        "test_optima_numerics.py::test_each_damped_step_lowers_the_objective",
    ),
    Mutant(
        "error bound without the effective resistance",
        "optima/certificate.py",
        "* np.sqrt(resistance.max(axis=0)) * norm",
        "* norm",
        "test_optima_bounds.py::test_a_wrong_candidate_gets_a_larger_bound",
    ),
    Mutant(
        "error bound without rounding",
        "optima/certificate.py",
        "norm = norm + _rounding_norm(problem, theta, terms, np.sqrt(resistance))",
        "norm = norm + 0.0",
        "test_optima_rounding.py::test_bound_where_large_terms_cancel[complete-newton]",
    ),
    Mutant(
        "IPO's scores without their factor 2",
        "optima/closed_forms.py",
        "/ (2 * problem.objective.lam)",
        "/ problem.objective.lam",
        "test_worked_numbers.py::test_ipo_on_two_responses",
    ),
    Mutant(
        "DPO's scores without lambda",
        "optima/closed_forms.py",
        "return log_optimal / lam,",
        "return log_optimal + 0 * lam,",
        "test_worked_numbers.py::test_dpo_and_rlhf_tilt_the_reference",
    ),
    Mutant(
        "components not held to their mass",
        "optima/structure.py",
        "masses[:, inside] = total * (own / own.sum(axis=1, keepdims=True))",
        "masses[:, inside] = own / own.sum(axis=1, keepdims=True) / len(self.components)",
        "test_worked_numbers.py::test_expo_on_a_disconnected_graph",
    ),
)
