"""What a training log says: `diagnose` reads logs of trainers and names what is going on, with what shows it."""

from .diagnosis import Diagnosis, diagnose
from .finding import FAULT, NOTE, WARNING, Finding
from .log import Log, Series
from .readers import read_log

__all__ = ["FAULT", "NOTE", "WARNING", "Diagnosis", "Finding", "Log", "Series", "diagnose", "read_log"]
