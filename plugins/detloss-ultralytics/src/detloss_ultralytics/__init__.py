"""Box losses of detloss in the YOLO and RT-DETR models of ultralytics."""

from detloss_ultralytics.use import use

__all__ = ["use"]
