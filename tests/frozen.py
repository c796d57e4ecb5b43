"""What a fork server loads last: its forks' garbage collections then leave out, and do not copy, what it has loaded."""

import gc

gc.collect()
gc.freeze()
