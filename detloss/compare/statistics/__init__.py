"""Statistics of differences between arms on shared seeds and images.

It needs numpy and scipy, not torch.

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
