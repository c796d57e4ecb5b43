"""The search for counterexamples: problems, the hunt, what makes a case simple, and what makes it certain."""
