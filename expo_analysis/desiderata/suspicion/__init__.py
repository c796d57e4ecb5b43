"""Is it a loss, and is it what its author says? Asked before any question is."""
