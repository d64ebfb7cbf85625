"""Data sets of a training: COCO files and synthetic images, and the loaders that feed them."""
