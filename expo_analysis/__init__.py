"""expo_analysis: what preference losses really do, from exact optima on small problems to language models.

The face of it, everything else is found from there:

    Bandit, read_bandit                     a small problem: prompts, a reference policy, preferences or win counts
    Comparisons, read_comparisons           who beat whom among up to millions of players, never a table of all pairs
    DPO, IPO, EXPO, RLHF, ...               losses; `CATALOGUE` has all of them, and `objective` makes one by its name
    solve, solve_path                       exact optima with proven bounds: a Solution, a SolutionPath
    choose_lambda, bootstrap                a lambda from the data; intervals from comparisons that are drawn anew
    audit, audit_many                       a ReportCard for a loss
    risk, implicit_reward_accuracy          the objective of a policy; how often its reward prefers what is preferred
    terms, losses, divergences, numerics    to write a loss of one's own
    figures                                 of any losses, at the size of a journal's column
    paper, simulators, llm                  the paper's experiments, training of small policies, language models
    on_policy                               pairs that the policy draws itself: fixed points, games, XPO

Names are imported when they are first asked for, so that ``import expo_analysis`` is quick. ``llm`` needs the extra
``expo-analysis[llm]``.
"""

from pathlib import Path as _Path

from ._lazy import attach as _attach

__version__ = "0.1.0"

__getattr__, __dir__ = _attach(__name__, _Path(__file__).with_suffix(".pyi"), not_in_all={"llm"})
