"""`python -m detloss` is `detloss`."""

import sys

from detloss.cli import main

sys.exit(main())
