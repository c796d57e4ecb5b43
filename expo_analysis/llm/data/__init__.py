"""Preference data: read, checked and split into tokens once, as `PreferenceData`.

A row is a pair: ``prompt``, ``chosen`` and ``rejected``, each plain text or each a conversation (a list of messages
``{"role": ..., "content": ...}``), as in TRL; `forms` has what else is understood, and `feedback` what else a row may
be: a triple, a single response with a label or a score, or a list. For reference samples there is a further column, a
list of K responses for each prompt: ``reference_samples`` as text or conversations, or ``reference_sample_ids`` as the
token ids that the reference produced, which is exact where text would be split into other tokens, or was cut off before
its end. For the same reason ``prompt_ids``, ``chosen_ids`` and ``rejected_ids`` may be given beside the texts, as
``expo-analysis preferences`` does: these tokens are then trained on as they are, and no end token is added to a
response that was cut.
"""

from .columns import parse_columns
from .preference_data import PreferenceData
from .readers import read_split, read_splits
from .report import ON_BAD_ROWS, BadRows, DataReport, Place, Problem

__all__ = [
    "ON_BAD_ROWS",
    "BadRows",
    "DataReport",
    "Place",
    "PreferenceData",
    "Problem",
    "parse_columns",
    "read_split",
    "read_splits",
]
