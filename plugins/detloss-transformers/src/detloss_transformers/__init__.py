"""Heads of detloss for the DETR family of transformers."""
