"""The report of a comparison: one HTML file."""

from detloss.compare.report.page import write_report

__all__ = ["write_report"]
