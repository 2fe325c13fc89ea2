"""Which products the measurements make: what stages go by, and what a plan sums up."""
