from .comparing import Compared as Compared
from .comparing import compare as compare
from .comparing import compare_runs as compare_runs
from .plan import load_compare as load_compare
from .result import Comparison as Comparison
