"""Losses that compare boxes as Gaussians, one file each."""
