"""Property tests for your own loss: strategies for hypothesis, and assertions; a pytest plugin uses both.

    from expo_analysis.testing import assert_equal_losses, assert_holds, assert_invariant, assert_sound

    def test_my_loss():
        assert_sound(my_loss)                          # one differentiable number per pair, at all scales
        assert_invariant(my_loss, "shift")             # adding a constant to both log-probabilities changes nothing
        assert_holds(my_loss, "preservation")          # the message of a failure is code that reproduces it
        assert_equal_losses(my_loss, ea.DPO(0.1))      # up to constants, scale, and the way lambda enters

`strategies` has policies, bandits, win counts, comparison graphs, log-probabilities and lambdas.
"""

from pathlib import Path as _Path

from .._lazy import attach as _attach

__getattr__, __dir__ = _attach(__name__, _Path(__file__).with_suffix(".pyi"))
