"""Random EXPO problems solved by this package and by its peers, side by side in one run: `python -m benchmarks`."""
