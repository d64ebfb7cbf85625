"""`detloss new`: writes a complete plugin package from a template.

`write_plugin` answers the `QUESTIONS`, renders every file of ``template/``, and only then writes one new folder.
"""

from detloss.scaffold.package import write_plugin
from detloss.scaffold.questions import NAME, QUESTIONS, Question

__all__ = ["NAME", "QUESTIONS", "Question", "write_plugin"]
