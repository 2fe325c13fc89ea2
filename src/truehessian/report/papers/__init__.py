"""What the papers say, and what a run finds."""
