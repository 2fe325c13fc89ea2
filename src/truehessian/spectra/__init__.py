"""Lanczos, Ritz values, spectra and densities."""
