"""What matrices are means over: examples, data sets, folds and batches."""
