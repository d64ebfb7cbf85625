"""Compare losses on shared seeds and images, and say what is known and how surely."""
