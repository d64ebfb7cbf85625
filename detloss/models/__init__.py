"""Detectors of torchvision from a config."""

from detloss.models.building import build_model
from detloss.models.checks import check_model

__all__ = ["build_model", "check_model"]
