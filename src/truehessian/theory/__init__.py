"""Random matrix theory, predictions and estimates, with NumPy alone."""
