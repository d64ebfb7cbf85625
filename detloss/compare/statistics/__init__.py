"""What runs on shared seeds and images say about differences between arms; numpy and scipy, no torch.

Methods, formulas and their coverage are in docs/compare-statistics.md.
"""

from detloss.compare.statistics.forecast import Expected, Spread, expect, half_width
from detloss.compare.statistics.inference import Contrast, Inference, infer
from detloss.compare.statistics.looks import look_level
from detloss.compare.statistics.race import droppable
from detloss.compare.statistics.replicates import grouped_jackknife, half_sample_covariance

__all__ = [
    "Contrast",
    "Expected",
    "Inference",
    "Spread",
    "droppable",
    "expect",
    "grouped_jackknife",
    "half_sample_covariance",
    "half_width",
    "infer",
    "look_level",
]
