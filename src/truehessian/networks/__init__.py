"""Architectures, checkpoints and training."""
