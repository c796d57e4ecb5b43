"""Losses planted under the report card, with the answers that mathematics gives for them.

An answer is listed only where it is sure; a desideratum that is not listed may be decided either way. Most are `EXPO`,
`DPO` or `IPO` with one thing changed, whose answers follow from those of the loss they were made of.
"""

from __future__ import annotations

from . import broken, dpo, expo, others, terms
from .known import Planted

PLANTED: tuple[Planted, ...] = (*(*expo.PLANTED, *dpo.PLANTED, *others.PLANTED, *terms.PLANTED, *broken.PLANTED),)
