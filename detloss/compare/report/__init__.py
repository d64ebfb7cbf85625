"""The report of a comparison: one HTML file."""

from detloss.compare.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
