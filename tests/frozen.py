"""What a fork server loads last: garbage collections of its forks then leave out, and do not copy, what it has loaded."""

import gc

gc.collect()
gc.freeze()
