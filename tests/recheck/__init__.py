"""A report card's failures checked by code that shares nothing with the package: own losses, own optimiser.

    expo-analysis audit --all --json > card.json && python -m tests.recheck card.json

Losses are those of definitions.py, in high precision, at the options that the card has (`risks.CARD`); a minimiser is
looked for on a grid over all policies and then by Nelder and Mead from its best points, so that nothing rests on a
gradient, a fact or a solver of the package. What is checked of each question's counterexamples stands in `optima`, for
claims about where an optimum lies, and in `others`. Losses of more than a pair are left out, and problems of more
responses than a grid can cover.
"""
