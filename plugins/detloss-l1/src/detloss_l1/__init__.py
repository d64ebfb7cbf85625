"""Coordinate losses on encoded deltas: `l1`, `smooth_l1`, `huber`, `balanced_l1`; a file each."""
