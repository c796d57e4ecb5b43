"""The explorer: a page on which policies are dragged and exact optima drawn, its formulas compiled from the terms.

``write_page("explorer.html")`` writes it, as ``expo-analysis explore`` does. `compile_loss` is what turns a loss into
functions of numbers; the page itself is in ``web``, in TypeScript, and built into ``built`` (docs/explorer.md).
"""

from .compiled import CompiledLoss, compile_loss
from .function import NotCompiled
from .page import PAGE, write_page

__all__ = ["PAGE", "CompiledLoss", "NotCompiled", "compile_loss", "write_page"]
