"""compare: which of several runs is better, on the same pictures, beyond what chance explains."""

from linnaeus.verbs.compare.comparison import Comparison, Contestant, SeedGroup, compare
from linnaeus.verbs.compare.latency import Latency
from linnaeus.verbs.compare.page import write_page
from linnaeus.verbs.compare.words import tell

__all__ = ["Comparison", "Contestant", "Latency", "SeedGroup", "compare", "tell", "write_page"]
