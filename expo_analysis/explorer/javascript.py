"""Expressions as JavaScript: functions of numbers that put their results into an array."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from .expression import Node, in_order
from .function import Function

INFIX = {
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=", "equal": "==="},
    **{"and": "&&", "or": "||"},
}

CALLS = {
    **{name: f"Math.{name}" for name in ("exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "tanh", "sin", "cos")},
    **{"atan": "Math.atan", "minimum": "Math.min", "maximum": "Math.max", "power": "Math.pow"},
    **{"sigmoid": "sigmoid", "log_sigmoid": "logSigmoid", "erf": "erf", "isnan": "Number.isNaN"},
    "log1p_exp_of_minus_abs": "log1pExpOfMinusAbs",
}

HELPERS = """\
const sigmoid=(x)=>{if(x<0){const e=Math.exp(x);return e/(1+e)}return 1/(1+Math.exp(-x))};
const log1pExpOfMinusAbs=(x)=>Math.log1p(Math.exp(-Math.abs(x)));
const logSigmoid=(x)=>Math.min(x,0)-log1pExpOfMinusAbs(x);
"""
"""Functions that compiled losses call beside those of ``Math``."""

ERF = """\
const erf=(x)=>{const a=Math.abs(x);let s;if(a<2.5){let t=a;s=a;for(let k=1;k<80;k++){t*=-a*a/k;s+=t/(2*k+1)}\
s*=2/Math.sqrt(Math.PI)}else{let f=a;for(let k=60;k>0;k--)f=a+k/2/f;s=1-Math.exp(-a*a)/Math.sqrt(Math.PI)/f}\
return x<0?-s:s};
"""
"""The error function, by its series near 0 and its continued fraction far out; written where a loss calls it."""


def written(function: Function, out: bool = True) -> str:
    """A function as JavaScript: ``(x,y,o)=>{...}`` that fills ``o``, or ``(x,y)=>...`` that returns one number.

    Example:
        >>> from .expression import multiply, variable
        >>> x = variable("x")
        >>> written(Function(("x",), (multiply(x, x),)), out=False)
        '(x)=>{return x*x}'
    """
    body, results = statements(function.results)
    ends = [f"o[{k}]={text}" for k, text in enumerate(results)] if out else [f"return {results[0]}"]
    arguments = [*function.arguments, *(["o"] if out else [])]
    return f"({','.join(arguments)})=>{{{''.join(line + ';' for line in body)}{';'.join(ends)}}}"


def statements(roots: Iterable[Node]) -> tuple[list[str], list[str]]:
    """Lines that compute what is used more than once, and the text of each root."""
    roots = list(roots)
    order = in_order(roots)
    uses: dict[Node, int] = {}
    for node in order:
        for other in node.on:
            uses[other] = uses.get(other, 0) + 1
    for root in roots:
        uses[root] = uses.get(root, 0) + 1
    texts: dict[Node, str] = {}
    lines: list[str] = []
    for node in order:
        text = _text(node, texts)
        if node.on and uses[node] > 1:
            name = f"t{len(lines)}"
            lines.append(f"const {name}={text}")
            text = name
        texts[node] = text
    return lines, [_bare(texts[root]) for root in roots]


def _text(node: Node, texts: dict[Node, str]) -> str:
    if node.operation == "number":
        return _number(node.value)
    if node.operation == "variable":
        return str(node.value)
    on = [texts[other] for other in node.on]
    if node.operation in INFIX:
        return f"({on[0]}{INFIX[node.operation]}{on[1]})"
    if node.operation == "negative":
        return f"(-{on[0]})"
    if node.operation == "not":
        return f"(!{on[0]})"
    if node.operation == "where":
        return f"({on[0]}?{on[1]}:{on[2]})"
    return f"{CALLS[node.operation]}({','.join(map(_bare, on))})"


def _bare(text: str) -> str:
    """Without the parentheses around all of it."""
    if not text.startswith("("):
        return text
    depth = 0
    for place, sign in enumerate(text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0:
            return text[1:-1] if place == len(text) - 1 else text
    return text


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "(-Infinity)"
    text = json.dumps(abs(value)).removesuffix(".0")
    text = text.removeprefix("0") if text.startswith("0.") else text
    return f"(-{text})" if math.copysign(1.0, value) < 0 else text
