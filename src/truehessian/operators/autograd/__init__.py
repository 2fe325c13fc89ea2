"""Rules of layers that take the place of plain differentiation."""
