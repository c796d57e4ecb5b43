"""Losses planted under the report card, with the answers that mathematics gives for them.

An answer is listed only where it is sure; a desideratum that is not listed may be decided either way. Most are `EXPO`,
`DPO` or `IPO` with one thing changed, whose answers follow from those of the loss they were made of.
"""

from __future__ import annotations

from . import broken, dpo, expo, others, suspicious, terms
from .known import Planted

ROOMS = (expo, dpo, others, terms, broken, suspicious)

PLANTED: tuple[Planted, ...] = tuple(planted for room in ROOMS for planted in room.PLANTED)
