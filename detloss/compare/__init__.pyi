from .comparing import Compared as Compared
from .comparing import compare as compare
from .comparing import compare_runs as compare_runs
from .library_results import from_transformers as from_transformers
from .library_results import from_ultralytics as from_ultralytics
from .plan import load_compare as load_compare
from .result import Comparison as Comparison
from .run_file import write_run as write_run
