"""The conformance kit: checks of what every loss promises.

In a plugin's tests, one parametrized line::

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_conformance(check):
        check.run("my_loss")

Or all at once: ``print(check_loss("my_loss"))``, and on the command line ``detloss check my_loss``. `HEAD_CHECKS` and
`check_head` are the same for a head adapter.
"""

from detloss.testing.check import Check, Result
from detloss.testing.checks import CHECKS
from detloss.testing.head_checks import HEAD_CHECKS
from detloss.testing.report import Report, check_head, check_loss

__all__ = ["CHECKS", "HEAD_CHECKS", "Check", "Report", "Result", "check_head", "check_loss"]
