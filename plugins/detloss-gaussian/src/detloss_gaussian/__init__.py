"""Losses that compare boxes as Gaussians: `nwd`, `gwd`, `kld`, `probiou`; a file each."""
