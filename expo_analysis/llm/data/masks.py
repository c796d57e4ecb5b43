"""Which tokens of responses count, where rows bring their tokens: those of others' turns, and padding, do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .feedback import Feedback
from .forms import Remark
from .report import BadField
from .tokens import Ids, Tokens


def column_of(response: str, ending: str) -> str:
    """What the tokens or the mask of a response are called: ``"chosen_ids"``, or ``"responses_mask[0]"`` of a list."""
    return re.sub(r"^\w+", rf"\g<0>{ending}", response)


def masks_of(row: Mapping[str, Any], feedback: Feedback, ids: Mapping[str, Ids]) -> dict[str, Ids]:
    """1 for each token that counts and 0 for the others, of responses by name: as a row has it, or all.

    Args:
        ids: the responses' tokens.

    Raises:
        BadField: naming the mask that is no list of 0 and 1 for each token, or counts none.
    """
    given: dict[str, Any] = {}
    if any(row.get(name) is not None for name in feedback.masks):
        given = feedback.values(row, "_mask")
        for extra in given.keys() - ids.keys():
            raise BadField(column_of(extra, "_mask"), "there are no tokens of this response")
    return {name: _mask(column_of(name, "_mask"), given.get(name), own) for name, own in ids.items()}


def _mask(column: str, mask: Any, ids: Ids) -> Ids:
    if mask is None:
        return [1] * len(ids)
    if not isinstance(mask, list) or not all(type(count) in (int, bool) and count in (0, 1) for count in mask):
        raise BadField(column, "it must be a list of 1 for tokens that count and 0 for others", f", got {mask!r:.40}")
    if len(mask) != len(ids):
        raise BadField(column, "it must have a number for each token", f", got {len(mask)} for {len(ids)}")
    if ids and not any(mask):
        raise BadField(column, "it counts none of the tokens")
    return list(map(int, mask))


def remark_on_padding(tokens: Tokens, tokenizer: Any, remark: Remark) -> None:
    """Of padding that is left in the tokens of a row: a model would learn to write it.

    Where it is the end token, or another that texts have, one of it may well be meant.
    """
    pad = tokenizer.pad_token_id
    if pad is None:
        return
    mine = pad in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    counted = [
        [token for token, counts in zip(ids, tokens.masks[name], strict=True) if counts]
        for name, ids in tokens.responses.items()
    ]
    if any(ids[-2:] == [pad, pad] if mine else pad in ids for ids in counted):
        remark("have padding in the tokens of a response, which counts as the rest of it; give a mask, or leave it out")
    if tokens.prompt[:1] == [pad] and (not mine or tokens.prompt[:2] == [pad, pad]):
        remark("have a prompt that begins with padding, which the model reads as any other token")
