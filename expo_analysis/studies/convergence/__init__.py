"""How fast do the optima come to π* as λ falls, and to π_ref as λ grows?"""

from ..study import Study

STUDY = Study(
    __name__,
    "How fast do the optima come to π* as λ falls, and to π_ref as λ grows?",
    40,
    ("convergence", "convergence_slopes"),
    seconds=1,
)
