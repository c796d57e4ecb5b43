"""Anyone's function as a loss: it must be the loss of the catalogue that it is, whatever its signature."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import expo_analysis as ea
from expo_analysis.own_loss import make_loss
from expo_analysis.testing import assert_equal_losses

LOGSIGMOID = F.logsigmoid
TRIED = "expo_analysis.losses.function_call.ends_process"


def torchtune_style(
    policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta=0.1
):
    logits = policy_chosen_logps - policy_rejected_logps - (reference_chosen_logps - reference_rejected_logps)
    rewards = [beta * (policy - reference).detach() for policy, reference in (
        (policy_chosen_logps, reference_chosen_logps), (policy_rejected_logps, reference_rejected_logps))]  # fmt: skip
    return -LOGSIGMOID(beta * logits), *rewards


def camel(policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps, *, beta):
    return -LOGSIGMOID(beta * (policyChosenLogps - policyRejectedLogps - refChosenLogps + refRejectedLogps))


def by_place(a, b, c, d, lam=1.0):
    return -LOGSIGMOID(lam * (a - b - c + d))


def another_order(reference_rejected_logps, policy_chosen_logps, reference_chosen_logps, policy_rejected_logps, beta):
    gap = policy_chosen_logps - policy_rejected_logps
    return -LOGSIGMOID(beta * (gap - reference_chosen_logps + reference_rejected_logps))


def mean_of_the_batch(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return -LOGSIGMOID(beta * (chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps)).mean()


def mean_that_looks(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    gap = beta * (chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps)
    return {"loss": (-LOGSIGMOID(gap) if gap.sum().item() > -1e9 else gap).mean(), "accuracy": 0.0}


class Module(torch.nn.Module):
    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0):
        super().__init__()
        self.beta, self.label_smoothing = beta, label_smoothing

    def forward(self, policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps):
        gap = self.beta * (
            policy_chosen_logps - policy_rejected_logps - reference_chosen_logps + reference_rejected_logps
        )
        return -(1 - self.label_smoothing) * LOGSIGMOID(gap) - self.label_smoothing * LOGSIGMOID(-gap)


class OfOutputs(torch.nn.Module):
    """As torchtune's since 0.6."""

    def __init__(self, beta: float = 0.1):
        super().__init__()
        self.beta = beta

    def forward(self, policy_inputs, reference_inputs):
        gap = policy_inputs.chosen_logps - policy_inputs.rejected_logps
        return -LOGSIGMOID(self.beta * (gap - reference_inputs.chosen_logps + reference_inputs.rejected_logps)), None


def mean_and_losses(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    losses = by_place(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta)
    return {"loss": losses.mean(), "losses": losses}


def an_object(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    return SimpleNamespace(loss=by_place(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta))


def places_alone(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, /, beta=0.1):
    return by_place(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta)


@torch.compile
def compiled(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    return by_place(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta)


def mean_of_compiled(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    return compiled(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=beta).mean()


DPO_LIKE = {
    **{f.__name__: f for f in (torchtune_style, camel, by_place, another_order, mean_of_the_batch, mean_that_looks)},
    **{f.__name__: f for f in (mean_and_losses, an_object, places_alone, mean_of_compiled, Module, OfOutputs)},
    "partial": partial(torchtune_style, beta=0.3),
    "compiled": compiled,
}


def pairs(shape=(5,)):
    rng = np.random.default_rng(0)
    return [-rng.exponential(2.0, shape) for _ in range(4)]


@pytest.mark.parametrize("name", DPO_LIKE)
@pytest.mark.parametrize("lam", [0.07, 2.0])
def test_it_is_the_loss_that_it_is(name, lam):
    """Which argument is which, lambda, tuples, mappings, means: a mistake in any changes numbers or slopes."""
    found, right = ea.from_function(DPO_LIKE[name], lam), ea.DPO(lam)
    assert np.allclose(found.loss(*pairs()), right.loss(*pairs()), rtol=1e-14, atol=0)
    tensors = [torch.tensor(x, requires_grad=True) for x in pairs((2, 3))]
    ours, theirs = (
        torch.autograd.grad(one.loss(*tensors).sum(), tensors[:2], create_graph=True) for one in (found, right)
    )
    for own, known in zip(ours, theirs, strict=True):
        assert torch.allclose(own, known, rtol=1e-12, atol=0)
    bend = [torch.autograd.grad(slopes[0].sum(), tensors[1])[0] for slopes in (ours, theirs)]
    assert torch.allclose(*bend, rtol=1e-12, atol=0)


class OfParameters(torch.nn.Module):
    """Lambda is learned."""

    def __init__(self):
        super().__init__()
        self.log_beta = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64).log())

    def forward(self, policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps):
        beta = self.log_beta.exp()
        return by_place(
            policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta
        )


@pytest.mark.parametrize(
    "made",
    [Module(0.3), OfParameters(), torch.compile(Module(0.3)), torch.compile(OfParameters()), Module(0.3).forward],
)
def test_objects_and_their_methods(made):
    """Lambda is theirs; parameters of their own are constants."""
    found, right = ea.from_function(made), ea.DPO(0.3)
    tensors = [torch.from_numpy(x) for x in pairs()]
    for given in (pairs(), tensors):
        assert np.allclose(found.loss(*given), right.loss(*given), rtol=1e-14, atol=0)
    (slope,) = torch.autograd.grad(found.loss(tensors[0].requires_grad_(), *tensors[1:]).sum(), tensors[0])
    assert torch.allclose(slope, torch.autograd.grad(right.loss(*tensors).sum(), tensors[0])[0], rtol=1e-12)
    assert assert_equal_losses(made, "dpo").lam == "0.3"
    remarks = ea.audit(found, only="first_step", effort=0.1).remarks
    assert remarks == found.remarks


def test_what_a_partial_function_has_bound_is_not_asked_for():
    def may_do_without(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
        gap = policy_chosen_logps - policy_rejected_logps
        return -LOGSIGMOID(beta * (gap if ref_chosen_logps is None else gap - ref_chosen_logps + ref_rejected_logps))

    free = ea.from_function(partial(may_do_without, ref_chosen_logps=None, ref_rejected_logps=None), 0.7)
    assert np.allclose(free.loss(*pairs()), ea.BradleyTerry(0.7).loss(*pairs()), rtol=1e-14, atol=0)
    assert np.allclose(ea.from_function(may_do_without, 0.7).loss(*pairs()), ea.DPO(0.7).loss(*pairs()), rtol=1e-14)


@pytest.mark.parametrize("name", DPO_LIKE)
def test_lambda_may_differ_from_pair_to_pair(name):
    lams = np.array([0.1, 2.0, 0.1, 0.5, 2.0])
    assert np.allclose(ea.from_function(DPO_LIKE[name]).with_lam(lams).loss(*pairs()), ea.DPO(lams).loss(*pairs()))


def test_solved_and_audited_as_any_other():
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    for f in (mean_of_the_batch, Module):
        assert (
            abs(ea.solve(ea.from_function(f, 0.5), bandit).policy - ea.solve(ea.DPO(0.5), bandit).policy).max() < 1e-9
        )
    smooth = ea.from_function(Module, 0.5, label_smoothing=0.1)
    assert abs(ea.solve(smooth, bandit).policy - ea.solve(ea.DPO(0.5, label_smoothing=0.1), bandit).policy).max() < 1e-9
    card = ea.audit(ea.from_function(torchtune_style), only="preservation", effort=0.1)
    assert card.verdicts["preservation"].decision == "fails" and card.name == "torchtune_style"


def test_what_is_said_of_a_result():
    """Which part of it is the loss, where it has parts, and whether it was reduced."""
    first, by_name, plain = (ea.from_function(f).call.describe() for f in (torchtune_style, mean_that_looks, camel))
    assert first[1:] == ["its beta is lambda", "the first part of what it returns is the loss"]
    assert by_name[1:3] == ["its beta is lambda", "'loss' of what it returns is the loss"]
    reduced = "it reduces a batch to one number, so it is called with batches of one pair"
    assert by_name[3:] == [reduced] and plain[1:] == ["its beta is lambda"]
    assert ea.from_function(mean_of_the_batch).call.describe()[-1] == reduced


def test_regularisers_rewards_and_lengths():
    def explicit(policy_chosen_logps, policy_rejected_logps):
        return -LOGSIGMOID(policy_chosen_logps - policy_rejected_logps)

    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    mine = ea.from_function(explicit, 0.3, regulariser=ea.ForwardKL())
    assert mine.call.beta == "" and not mine.data
    assert abs(ea.solve(mine, bandit).policy - ea.solve(ea.EXPO(0.3), bandit).policy).max() < 1e-9

    def simpo(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta, gamma=0.5):
        return -LOGSIGMOID(beta * (chosen_logps / chosen_lengths - rejected_logps / rejected_lengths) - gamma)

    lengths = {"length_w": np.array([1.0, 2, 3, 4, 5]), "length_l": np.array([5.0, 4, 3, 2, 1])}
    mine, right = ea.from_function(simpo, 2.0, gamma=0.3), ea.SimPO(2.0, gamma=0.3)
    assert np.allclose(mine.loss(*pairs()[:2], *pairs()[2:], **lengths), right.loss(*pairs()[:2], **lengths))

    def distilled(
        chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, chosen_rewards, rejected_scores, beta
    ):
        margin = chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps
        return (beta * margin - (chosen_rewards - rejected_scores)) ** 2

    rewards = {"reward_w": np.arange(5.0), "reward_l": np.arange(5.0)[::-1].copy()}
    mine, right = ea.from_function(distilled, 0.5), ea.RewardDistillation(0.5)
    assert np.allclose(mine.loss(*pairs(), **rewards), right.loss(*pairs(), **rewards))


def shifted(policy_chosen_logps, policy_rejected_logps, beta=0.1, shift=0.0, **more):
    return -LOGSIGMOID(beta * (policy_chosen_logps - policy_rejected_logps) - shift)


def test_names_of_lambda():
    def tempered(policy_chosen_logps, policy_rejected_logps, tau):
        return -LOGSIGMOID(tau * (policy_chosen_logps - policy_rejected_logps))

    found = ea.from_function(tempered, 2.0, beta_name="tau")
    assert np.allclose(found.loss(*pairs()[:2], *pairs()[2:]), ea.BradleyTerry(2.0).loss(*pairs()[:2]))
    with pytest.raises(TypeError, match=r"tempered has the arguments .*\(tau is not known\): a loss takes"):
        ea.from_function(tempered)
    with pytest.raises(TypeError, match=r"beta_name must be an argument of tempered, .*got 'beta'"):
        ea.from_function(tempered, beta_name="beta")
    for name in ("shift", "more"):  # another option, and the name of what takes any
        with pytest.raises(TypeError, match=rf"^beta_name must be an argument of shifted, .*got '{name}'$"):
            ea.from_function(shifted, beta_name=name, shift=0.5)
    with pytest.raises(TypeError, match=r"^beta_name must be an argument of shifted, .*got 'tau'$"):
        ea.from_function(shifted, beta_name="tau")  # which it would take without a word, and not read
    assert ea.from_function(shifted, 2.0, shift=0.5, anything=1).call.beta == "beta"
    still = ea.from_function(partial(tempered, tau=3.0), 2.0)
    assert np.allclose(still.loss(*pairs()[:2], *pairs()[2:]), ea.BradleyTerry(3.0).loss(*pairs()[:2]))
    assert any("no lambda" in remark for remark in still.remarks)


def test_the_first_argument_of_a_class_may_be_lambda():
    class First:
        def __init__(self, beta, shift=0.0):
            self.beta, self.shift = beta, shift

        def __call__(self, chosen_logps, rejected_logps, tau=1.0):
            return -LOGSIGMOID(self.beta * (chosen_logps - rejected_logps) - self.shift)

    found = ea.from_function(First, 2.0, shift=0.25)
    assert found.call.beta == "beta"
    margin = 2.0 * (pairs()[0] - pairs()[1]) - 0.25
    assert np.allclose(found.loss(*pairs()[:2]), np.logaddexp(0, -margin))
    with pytest.raises(TypeError, match=r"^beta_name must be an argument of First, which has beta, shift; got 'tau'$"):
        ea.from_function(First, beta_name="tau")


def _returns(value):
    def broken(policy_chosen_logps, policy_rejected_logps, beta=0.1):
        return value

    return broken


def _raises(error):
    def broken(policy_chosen_logps, policy_rejected_logps, beta=0.1):
        raise error

    return broken


BROKEN = {
    "no arguments": (lambda: torch.zeros(3), TypeError, "arguments none"),
    "one": (lambda logp: logp, TypeError, "is not known"),
    "three": (lambda a, b, c: a, TypeError, "a is not known"),
    "five, four of which would be read in their order": (lambda a, b, c, d, e: a, TypeError, "e is not known"),
    "strange": (lambda chosen_logps, rejected_logps, attention_mask: 0, TypeError, "attention_mask is not known"),
    "twice the same": (lambda chosen_logps, winner_logps: 0, TypeError, "two of them are the same"),
    "one side": (lambda chosen_logps, ref_chosen_logps: 0, TypeError, "no pair among them"),
    "not a function": (3, TypeError, "must be a function"),
    "a string": (_returns("loss"), ValueError, "returns str"),
    "nothing": (_returns(None), ValueError, "returns NoneType"),
    "a number": (_returns(1.0), ValueError, "returns float"),
    "an empty tuple": (_returns(()), ValueError, "returns tuple"),
    "another mapping": (_returns({"value": torch.zeros(3)}), ValueError, "returns a mapping of value:"),
    "too many": (_returns(torch.zeros(7)), ValueError, r"shape \(7,\) for 3 pairs"),
    "a matrix": (_returns(torch.zeros(3, 3)), ValueError, r"shape \(3, 3\)"),
    "raises": (_raises(RuntimeError("of\ntwo lines")), ValueError, r"RuntimeError for 3 pairs \(of two lines\)"),
    "wants numpy": (lambda chosen_logps, rejected_logps: chosen_logps.numpy().fly(), ValueError, "AttributeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_loss_is_refused_in_one_sentence(name):
    f, kind, message = BROKEN[name]
    with pytest.raises(kind, match=message) as told:
        ea.from_function(f)
    assert "\n" not in str(told.value)
    if name != "not a function":
        assert "a loss takes (policy_chosen_logps" in str(told.value)


def test_options_that_it_does_not_have():
    with pytest.raises(TypeError, match="gamma is no argument of torchtune_style, which has policy_chosen_logps, "):
        ea.from_function(torchtune_style, gamma=1.0)


FILE = """
import torch
import torch.nn.functional as F

def mine(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1, shift=0.0):
    return -F.logsigmoid(beta * (chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps) - shift)

class Nested:
    class Loss(torch.nn.Module):
        def __init__(self, beta): super().__init__(); self.beta = beta
        def forward(self, chosen_logps, rejected_logps):
            return -F.logsigmoid(self.beta * (chosen_logps - rejected_logps))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "their_losses.py"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_from_a_file_or_a_module(file, monkeypatch):
    mine = make_loss(f"{file}:mine", 0.5, shift=0.2)
    w, l, ref_w, ref_l = pairs()  # noqa: E741
    assert np.allclose(mine.loss(*pairs()), np.logaddexp(0, 0.2 - 0.5 * (w - l - ref_w + ref_l)))
    monkeypatch.syspath_prepend(str(file.parent))
    nested = make_loss("their_losses:Nested.Loss", 0.5)
    assert np.allclose(nested.loss(*pairs()), ea.BradleyTerry(0.5).loss(*pairs()[:2]))
    for text, message in (
        ("their_losses:nothing", "their_losses: it has no class or function 'nothing'"),
        ("no_such_module:f", "no_such_module: importing it failed: .*; for a file write FILE.py:NAME"),
        ("torch.nn.functional:logsigmoid", "log_sigmoid has no signature"),
    ):
        with pytest.raises(ValueError, match=message):
            make_loss(text)
    with pytest.raises(ValueError, match=r"beta_name is not used for .*:Exponential"):
        make_loss(f"{Path(__file__).parents[1]}/examples/exponential.py:Exponential", beta_name="tau")


def test_it_travels_to_other_processes(file):
    """Where nothing of the file has been loaded."""
    mine = make_loss(f"{file}:mine", 0.5, shift=0.2)
    code = textwrap.dedent("""
        import pickle, sys
        import numpy as np
        loss = pickle.loads(sys.stdin.buffer.read())
        print(repr(float(loss.loss(*np.log([[0.5], [0.2], [0.3], [0.3]]))[0])), loss.name)
    """)
    ran = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(mine), capture_output=True, check=True)
    value, name = ran.stdout.decode().split()
    assert float(value) == mine.loss(*np.log([[0.5], [0.2], [0.3], [0.3]]))[0] and name == "mine"


JAX_RESULTS = {
    "losses": lambda losses: losses,
    "their mean": lambda losses: losses.mean(),
    "a tuple that begins with their mean": lambda losses: (losses.mean()[None], losses),
    "their mean, having looked at it": lambda losses: {"loss": losses.mean() if losses.sum() > -1e9 else losses.sum()},
}


@pytest.mark.parametrize("returned", JAX_RESULTS)
def test_jax_functions(returned):
    jnp = pytest.importorskip("jax.numpy")
    jax = pytest.importorskip("jax")

    def theirs(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta):
        gap = policy_chosen_logps - policy_rejected_logps - reference_chosen_logps + reference_rejected_logps
        return JAX_RESULTS[returned](-jax.nn.log_sigmoid(beta * jnp.asarray(gap)))

    found = ea.from_function(theirs, 0.5)
    assert found.call.jax and found.call.reduces == ("mean" in returned)
    tensors = [torch.tensor(x, requires_grad=True) for x in pairs()]
    for one in (found, ea.DPO(0.5)):
        (slope,) = torch.autograd.grad(one.loss(*tensors).sum(), tensors[0], create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), tensors[1])
        numbers = (one.loss(*pairs()), slope.detach().numpy(), bend.numpy())
        if one is found:
            first = numbers
    assert all(np.allclose(a, b, rtol=1e-12) for a, b in zip(first, numbers, strict=True))


def test_what_a_function_does_not_read_may_be_left_out():
    w, l, *_ = pairs()  # noqa: E741
    found = ea.from_function(Unhashable())
    assert (found.loss(w, l) == found.loss(*pairs())).all()
    with pytest.raises(TypeError, match="ref_logp_w must be given"):
        ea.from_function(by_place).loss(w, l)


def test_what_a_loss_is_called(tmp_path):
    """As the function that a partial one is of, or the module below a compiled one; in a file, by its name there."""
    partly = partial(partial(by_place, lam=0.3))
    assert [ea.from_function(f).name for f in (partly, torch.compile(Module(0.3)))] == ["by_place", "Module"]
    file = tmp_path / "named.py"
    file.write_text("mine = lambda chosen_logps, rejected_logps: rejected_logps - chosen_logps", encoding="utf-8")
    loss = make_loss(f"{file}:mine")
    assert loss.name == "mine" == pickle.loads(pickle.dumps(loss)).name


def test_lambda_is_by_default_what_the_function_has():
    """As it would compute: bound, or its default; 1 where that is no number above 0."""

    def with_default(chosen_logps, rejected_logps, beta=0.25):
        return -LOGSIGMOID(beta * (chosen_logps - rejected_logps))

    def without(chosen_logps, rejected_logps, beta):
        return -LOGSIGMOID(beta * (chosen_logps - rejected_logps))

    bound = partial(with_default, beta=0.5)
    needs = partial(bound, beta=None)
    found = [ea.from_function(f).lam for f in (with_default, bound, without, needs, lambda pi_w, pi_l: pi_l - pi_w)]
    assert found == [0.25, 0.5, 1.0, 1.0, 1.0] and ea.from_function(bound, 3.0).lam == 3.0
    won, lost, *_ = pairs()
    expected = bound(torch.from_numpy(won), torch.from_numpy(lost)).numpy()
    assert np.array_equal(ea.from_function(bound).loss(won, lost), expected)


def test_a_function_is_tried_once(monkeypatch):
    """In a copy of the process, whatever is made of it; with options of its own, anew."""
    tried = []
    monkeypatch.setattr(
        "expo_analysis.losses.function_call.ends_process", lambda call, seconds: tried.append(call) or ""
    )
    for lam in (0.5, 1.0):
        assert ea.from_function(mine_alone, lam).with_lam(2.0).loss(*pairs()).shape == pairs()[0].shape
    assert len(tried) == 1
    ea.from_function(mine_alone, shift=1.0)
    ea.from_function(Unhashable())
    assert len(tried) == 3


def mine_alone(chosen_logps, rejected_logps, beta, shift=0.0):
    return -LOGSIGMOID(beta * (chosen_logps - rejected_logps - shift))


class Unhashable:
    def __hash__(self):
        raise RuntimeError("no hash today")

    def __call__(self, chosen_logps, rejected_logps):
        return -LOGSIGMOID(chosen_logps - rejected_logps)
