from . import strategies as strategies
from .assertions import assert_holds as assert_holds
from .assertions import assert_sound as assert_sound
from .equality import Equality as Equality
from .equality import assert_equal_losses as assert_equal_losses
from .equality import equality as equality
