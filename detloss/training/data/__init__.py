"""Training data: COCO files, synthetic images, and their loaders."""
