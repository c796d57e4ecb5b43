"""Report cards and how they are written."""
