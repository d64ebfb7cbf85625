"""The version of detloss."""

__version__ = "0.1.0"
