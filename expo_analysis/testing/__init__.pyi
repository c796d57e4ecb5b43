from . import strategies as strategies
from .assertions import assert_holds as assert_holds
from .assertions import assert_sound as assert_sound
from .equal import Equality as Equality
from .equal import assert_equal_losses as assert_equal_losses
from .equal import equality as equality
from .invariance import INVARIANCES as INVARIANCES
from .invariance import assert_invariant as assert_invariant
