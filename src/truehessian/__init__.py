"""Spectra of sample Hessians, what sampling does to them, and the true Hessian.

Importing this package imports nothing heavy: PyTorch comes with the modules that need it.
"""
