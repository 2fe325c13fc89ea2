"""Whatever multiplies with operators and costs GPU time."""
