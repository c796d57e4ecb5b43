"""Functions that are no losses, or do what no loss should: each with the words that have to tell so.

They are at the top of a file of their own, so that the command line can be given ``tests/broken_functions.py:NAME``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Broken:
    """f: the function. words: a regular expression for the sentence. refused: whether `from_function` refuses it, and
    not `assert_sound` after it. kills: whether it would end the process. copies: whether only a copy of the process can
    save this one from it."""

    f: Callable[..., Any]
    words: str
    refused: bool = True
    kills: bool = False
    copies: bool = False


BROKEN: dict[str, Broken] = {}


def broken(words: str, **given: Any) -> Callable[[Any], Any]:
    """Enter a function in the table."""

    def enter(f: Any) -> Any:
        BROKEN[f.__name__] = Broken(f, words, **given)
        return f

    return enter


unsound = partial(broken, refused=False)


def dpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return -F.logsigmoid(beta * (chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps))


# -------------------------------------------------------------------------------------------------------- arguments


@broken("arguments none")
def takes_nothing():
    return torch.zeros(3)


@broken(r"\(logp is not known\)")
def takes_one(logp):
    return logp


@broken("a is not known")
def takes_three(a, b, c):
    return a


@broken(r"\(e is not known\)")
def takes_five(a, b, c, d, e):
    return a


@broken("attention_mask is not known")
def takes_a_mask(chosen_logps, rejected_logps, attention_mask):
    return chosen_logps


@broken("two of them are the same")
def takes_one_twice(chosen_logps, winner_logps):
    return chosen_logps


@broken("no pair among them")
def takes_one_side(chosen_logps, ref_chosen_logps):
    return chosen_logps


@broken(r"arguments \*args, \*\*kwargs .no pair")
def takes_anything(*args, **kwargs):
    return args[0]


# ---------------------------------------------------------------------------------------------------------- results


@broken("returns NoneType for 3 pairs")
def returns_nothing(chosen_logps, rejected_logps):
    pass


@broken("returns str")
def returns_text(chosen_logps, rejected_logps):
    return "loss"


@broken("returns float")
def returns_a_number(chosen_logps, rejected_logps):
    return 0.5


@broken("returns a list that begins with float for 3 pairs")
def returns_numbers(chosen_logps, rejected_logps):
    return [float(x) for x in rejected_logps - chosen_logps]


@broken("returns torch.int64 .*real numbers")
def returns_integers(chosen_logps, rejected_logps):
    return (rejected_logps - chosen_logps).round().long()


@broken("returns torch.bool")
def returns_answers(chosen_logps, rejected_logps):
    return chosen_logps < rejected_logps


@broken("returns torch.complex128")
def returns_complex(chosen_logps, rejected_logps):
    return (rejected_logps - chosen_logps).to(torch.complex128)


@broken("returns tuple")
def returns_an_empty_tuple(chosen_logps, rejected_logps):
    return ()


@broken("returns a mapping of value")
def returns_another_key(chosen_logps, rejected_logps):
    return {"value": rejected_logps - chosen_logps}


@broken(r"shape \(3, 3\)")
def returns_a_matrix(chosen_logps, rejected_logps):
    return rejected_logps[:, None] - chosen_logps[None, :]


@broken(r"shape \(4,\)")
def returns_one_too_many(chosen_logps, rejected_logps):
    return torch.cat([chosen_logps, rejected_logps[:1]])


@broken(r"shape \(3, 2000000\)")
def returns_a_lot(chosen_logps, rejected_logps):
    return torch.zeros(1, dtype=chosen_logps.dtype).expand(3, 2_000_000)


@broken("returns generator")
def yields(chosen_logps, rejected_logps):
    yield rejected_logps - chosen_logps


@broken("returns a coroutine")
async def waits(chosen_logps, rejected_logps):
    await asyncio.sleep(0)
    return rejected_logps - chosen_logps


@broken("returns function")
def returns_a_function(chosen_logps, rejected_logps):
    return lambda: rejected_logps - chosen_logps


class _Evil:
    @property
    def shape(self):
        raise RuntimeError("no shape today")


@broken(r"raises RuntimeError for 3 pairs \(no shape today\)")
def returns_what_raises(chosen_logps, rejected_logps):
    return _Evil()


# ----------------------------------------------------------------------------------------------------------- raising


@broken(r"RuntimeError for 3 pairs \(of two lines\)")
def raises(chosen_logps, rejected_logps):
    raise RuntimeError("of\ntwo lines")


@broken("raises NameError")
def has_a_typo(chosen_logps, rejected_logps):
    return rejected_logp - chosen_logps  # noqa: F821


@broken("raises AssertionError for 3 pairs")  # pytest may say more of it
def asserts(chosen_logps, rejected_logps):
    assert chosen_logps.sum() > 0
    return chosen_logps


@broken(r"raises RuntimeError for 3 pairs \(x{250,500}( \.\.\.)?\)")
def raises_a_novel(chosen_logps, rejected_logps):
    raise RuntimeError("x" * 10_000_000)


class _Unspeakable(Exception):
    def __str__(self):
        raise ValueError("this message cannot be told")


@broken("raises _Unspeakable for 3 pairs:")
def raises_without_words(chosen_logps, rejected_logps):
    raise _Unspeakable


@broken("raises SystemExit for 3 pairs .3.")
def leaves(chosen_logps, rejected_logps):
    sys.exit(3)


@broken("raises KeyboardInterrupt for 3 pairs")
def interrupts(chosen_logps, rejected_logps):
    raise KeyboardInterrupt


@broken("raises GeneratorExit for 3 pairs")
def raises_generator_exit(chosen_logps, rejected_logps):
    raise GeneratorExit


class _Base(BaseException):
    pass


@broken("raises _Base for 3 pairs .nobody catches me.")
def raises_a_base_exception(chosen_logps, rejected_logps):
    raise _Base("nobody catches me")


@broken("raises RecursionError")
def recurses(chosen_logps, rejected_logps):
    return recurses(chosen_logps, rejected_logps)


@broken("raises MemoryError|raises RuntimeError.*alloc")
def wants_memory(chosen_logps, rejected_logps):
    return torch.zeros(2**50, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- never coming back


@broken(r"does not return within .* s for 3 pairs")
def loops(chosen_logps, rejected_logps):
    while True:
        pass


@broken("does not return within")
def sleeps(chosen_logps, rejected_logps):
    time.sleep(3600)


@broken("does not return within")
def catches_whatever_ends_it(chosen_logps, rejected_logps):
    for _ in range(3):
        with contextlib.suppress(BaseException):
            time.sleep(3600)
    time.sleep(3600)


@broken(r"ends the process that calls it \(exit status 3\)", kills=True)
def exits(chosen_logps, rejected_logps):
    os._exit(3)


@broken(r"ends the process that calls it \(signal SIGABRT\)", kills=True)
def aborts(chosen_logps, rejected_logps):
    os.abort()


@broken(r"ends the process that calls it \(signal SIGKILL\)", kills=True)
def kills_itself(chosen_logps, rejected_logps):
    os.kill(os.getpid(), signal.SIGKILL)


@broken(r"ends the process that calls it \(signal SIG(SEGV|BUS|ILL)\)", kills=True)
def reads_address_0(chosen_logps, rejected_logps):
    ctypes.string_at(0)


# --------------------------------------------------------------------------------------------------- not differentiable


@unsound("it raises RuntimeError: Can't call numpy")
def of_numpy(chosen_logps, rejected_logps):
    return torch.from_numpy(np.logaddexp(0, (rejected_logps - chosen_logps).numpy()))


@unsound("it is not differentiable")
def detached(chosen_logps, rejected_logps):
    return F.softplus(rejected_logps - chosen_logps).detach()


@unsound("it is not differentiable")
def without_gradients(chosen_logps, rejected_logps):
    with torch.no_grad():
        return F.softplus(rejected_logps - chosen_logps)


@unsound("gradient|differentiable")
def counts_mistakes(chosen_logps, rejected_logps):
    return torch.sign(rejected_logps - chosen_logps)


@unsound("gradient|differentiable|raises|returns torch.float32")
def of_python_numbers(chosen_logps, rejected_logps):
    return torch.tensor([max(0.0, float(l - w)) for w, l in zip(chosen_logps, rejected_logps, strict=True)])  # noqa: E741


# --------------------------------------------------------------------------------------------------------- precision


@unsound("returns torch.float16 where it is given torch.float64")
def in_half_precision(chosen_logps, rejected_logps):
    return F.softplus((rejected_logps - chosen_logps).half())


@unsound("float32|digits")
def in_single_precision(chosen_logps, rejected_logps):
    return F.softplus((rejected_logps - chosen_logps).float()).double()


@unsound("NaN")
def is_no_number(chosen_logps, rejected_logps):
    return torch.log(chosen_logps - rejected_logps)


@unsound("raises|infinite|device")
def on_no_device(chosen_logps, rejected_logps):
    return torch.zeros(chosen_logps.shape, dtype=chosen_logps.dtype, device="meta")


# ----------------------------------------------------------------------------------------- changes what it is given


@unsound("raises RuntimeError.*in-place|changes the log-probabilities")
def in_place(chosen_logps, rejected_logps):
    chosen_logps -= rejected_logps
    return F.softplus(-chosen_logps)


@unsound("changes the log-probabilities that it is given")
def in_place_of_the_reference(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps):
    ref_chosen_logps.zero_()
    return F.softplus(rejected_logps - chosen_logps)


# ---------------------------------------------------------------------------------------------------- not a function


@unsound("different values for the same pairs|random")
def draws(chosen_logps, rejected_logps):
    return F.softplus(rejected_logps - chosen_logps) * (1 + 1e-3 * torch.rand(()))


@unsound("it changes the state of torch's random numbers")
def seeds(chosen_logps, rejected_logps):
    torch.manual_seed(0)
    return F.softplus(rejected_logps - chosen_logps) * (1 + 1e-3 * torch.rand(()))


@unsound("it changes the state of numpy's random numbers")
def seeds_numpy(chosen_logps, rejected_logps):
    np.random.seed(0)  # noqa: NPY002
    return F.softplus(rejected_logps - chosen_logps)


@unsound("it changes the state of Python's random numbers")
def seeds_python(chosen_logps, rejected_logps):
    random.seed(0)
    return F.softplus(rejected_logps - chosen_logps)


_calls = []


@unsound("different values for the same pairs")
def remembers(chosen_logps, rejected_logps):
    _calls.append(1)
    return F.softplus(rejected_logps - chosen_logps) / len(_calls)


@unsound("depends on which other pairs")
def normalises_the_batch(chosen_logps, rejected_logps):
    gaps = rejected_logps - chosen_logps
    return F.softplus(gaps - gaps.mean())


# ------------------------------------------------------------------------------------- effects on everything around


@unsound("changes torch's default dtype to torch.float16")
def sets_the_default_dtype(chosen_logps, rejected_logps):
    torch.set_default_dtype(torch.float16)
    return F.softplus(rejected_logps - chosen_logps)


@unsound("whether torch keeps gradients")
def turns_gradients_off(chosen_logps, rejected_logps):
    loss = F.softplus(rejected_logps - chosen_logps)
    torch.set_grad_enabled(False)
    return loss


@unsound("changes the filters of warnings")
def changes_filters(chosen_logps, rejected_logps):
    warnings.simplefilter("error")
    return F.softplus(rejected_logps - chosen_logps)


@unsound("changes the working directory")
def goes_elsewhere(chosen_logps, rejected_logps):
    os.chdir("/")
    return F.softplus(rejected_logps - chosen_logps)


@unsound("what numpy does about floating-point errors")
def makes_numpy_raise(chosen_logps, rejected_logps):
    np.seterr(all="raise")
    return F.softplus(rejected_logps - chosen_logps)


@unsound("leaves a thread running|changes the state|closes")
def starts_threads(chosen_logps, rejected_logps):
    threading.Thread(target=time.sleep, args=(1.0,), daemon=False).start()
    return F.softplus(rejected_logps - chosen_logps)


@unsound("closes or redirects standard output")
def closes_descriptors(chosen_logps, rejected_logps):
    os.close(1)
    return F.softplus(rejected_logps - chosen_logps)


@unsound("forks the process")
def forks(chosen_logps, rejected_logps):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return F.softplus(rejected_logps - chosen_logps)


# --------------------------------------------------------------------------------- right where one looks first only


@unsound(r"at lambda = .*it raises ArithmeticError")
def raises_at_large_lambda(chosen_logps, rejected_logps, beta):
    if beta > 100:
        raise ArithmeticError("beta is too large")
    return F.softplus(beta * (rejected_logps - chosen_logps))


@unsound("SystemExit")
def leaves_at_small_lambda(chosen_logps, rejected_logps, beta):
    if beta < 1e-3:
        raise SystemExit
    return F.softplus(beta * (rejected_logps - chosen_logps))


@unsound("are not enough to examine it")
def loops_on_many_pairs(chosen_logps, rejected_logps):
    while len(chosen_logps) > 3:
        time.sleep(0.01)
    return F.softplus(rejected_logps - chosen_logps)


class _Last(torch.autograd.Function):
    """Whose derivative is the last thing that its process computes."""

    @staticmethod
    def forward(ctx, z):
        return z * 1

    @staticmethod
    def backward(ctx, gradient):
        os._exit(0)


@unsound(r"ends the process that calls it \(exit status 0\)", copies=True)
def exits_in_its_backward(chosen_logps, rejected_logps):
    return F.softplus(rejected_logps - _Last.apply(chosen_logps))


_CALLS = {"exits": 0, "loops": 0, "swallows": 0}


@unsound(r"ends the process that calls it \(signal SIGKILL\)", copies=True)
def is_killed_late(chosen_logps, rejected_logps):
    _CALLS["exits"] += 1
    if _CALLS["exits"] > 60:
        os.kill(os.getpid(), signal.SIGKILL)
    return F.softplus(rejected_logps - chosen_logps)


@unsound("are not enough to examine it", copies=True)
def loops_late_where_no_signal_is_seen(chosen_logps, rejected_logps):
    _CALLS["loops"] += 1
    if _CALLS["loops"] > 60:
        sum(itertools.repeat(0))
    return F.softplus(rejected_logps - chosen_logps)


@unsound("are not enough to examine it", copies=True)
def swallows_what_ends_it(chosen_logps, rejected_logps):
    _CALLS["swallows"] += 1
    while _CALLS["swallows"] > 60:
        with contextlib.suppress(BaseException):
            time.sleep(0.01)
    return F.softplus(rejected_logps - chosen_logps)


@broken("does not return within .* s for 3 pairs", copies=True)
def tries_again_for_ever(chosen_logps, rejected_logps):
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.01)


class HasAForwardThatRaises(torch.nn.Module):
    def __init__(self, beta: float = 0.1):
        super().__init__()
        self.beta = beta

    def forward(self, chosen_logps, rejected_logps):
        return self.margins - chosen_logps


class CannotBeMade:
    def __init__(self, beta, temperature):
        self.beta = beta

    def __call__(self, chosen_logps, rejected_logps):
        return rejected_logps - chosen_logps


class CannotBeCalled:
    def loss(self, chosen_logps, rejected_logps):
        return rejected_logps - chosen_logps


class WhateverIsAsked:
    """As a stand-in for a package that is not installed."""

    def __getattr__(self, name):
        return WhateverIsAsked()

    def __call__(self, *args, **kwargs):
        return WhateverIsAsked()


BROKEN |= {
    "CannotBeCalled": Broken(CannotBeCalled, "the class CannotBeCalled, which has neither"),
    "WhateverIsAsked": Broken(WhateverIsAsked(), "has no signature that can be read|no pair among them"),
    "HasAForwardThatRaises": Broken(HasAForwardThatRaises, "raises AttributeError.*margins"),
    "CannotBeMade": Broken(CannotBeMade, "raises TypeError.*temperature"),
}

HARMLESS: dict[str, Callable[..., Any]] = {}
"""Bad manners that are no fault of a loss: they pass, and an audit remarks on the first two."""


def harmless(f: Any) -> Any:
    HARMLESS[f.__name__] = f
    return f


@harmless
def prints(chosen_logps, rejected_logps):
    print("losses", rejected_logps.detach() - chosen_logps.detach())
    return F.softplus(rejected_logps - chosen_logps)


@harmless
def closes_standard_output(chosen_logps, rejected_logps):
    sys.stdout.close()
    return F.softplus(rejected_logps - chosen_logps)


@harmless
def warns(chosen_logps, rejected_logps):
    warnings.warn("this loss is deprecated", DeprecationWarning, stacklevel=2)
    return F.softplus(rejected_logps - chosen_logps)


@harmless
def deletes_its_arguments(chosen_logps, rejected_logps):
    loss = F.softplus(rejected_logps - chosen_logps)
    del chosen_logps, rejected_logps
    return loss


@harmless
def empties_its_arguments(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps):
    loss = F.softplus(rejected_logps - chosen_logps)
    ref_chosen_logps.data = torch.empty(0)  # of its view, which is nobody else's
    return loss


HARMLESS["a lambda"] = lambda chosen_logps, rejected_logps: F.softplus(rejected_logps - chosen_logps)


def starts_endless_threads(chosen_logps, rejected_logps):
    """For the command line alone: this thread keeps the process that starts it from ending."""
    threading.Thread(target=time.sleep, args=(3600.0,), daemon=False).start()
    return F.softplus(rejected_logps - chosen_logps)
