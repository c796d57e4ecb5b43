from . import divergences as divergences
from . import figures as figures
from . import llm as llm
from . import losses as losses
from . import numerics as numerics
from . import on_policy as on_policy
from . import paper as paper
from . import simulators as simulators
from . import terms as terms
from .accuracy import implicit_reward_accuracy as implicit_reward_accuracy
from .accuracy import reward_accuracy as reward_accuracy
from .bandit import Bandit as Bandit
from .bandit import RaggedBandit as RaggedBandit
from .bandit import win_classes as win_classes
from .bandit.files import read_bandit as read_bandit
from .bandit.files import read_ragged_bandit as read_ragged_bandit
from .desiderata import DESIDERATA as DESIDERATA
from .desiderata import ReportCard as ReportCard
from .desiderata import ReportCards as ReportCards
from .desiderata import Verdict as Verdict
from .desiderata import audit as audit
from .desiderata import audit_many as audit_many
from .divergences import Alpha as Alpha
from .divergences import ChiSquare as ChiSquare
from .divergences import Divergence as Divergence
from .divergences import ForwardKL as ForwardKL
from .divergences import JensenShannon as JensenShannon
from .divergences import MixedChiSquare as MixedChiSquare
from .divergences import ReverseKL as ReverseKL
from .losses import *
from .losses.from_function import from_function as from_function
from .optima import Path as Path
from .optima import Solution as Solution
from .optima import SolutionPath as SolutionPath
from .optima import solve as solve
from .optima import solve_path as solve_path

__version__: str
