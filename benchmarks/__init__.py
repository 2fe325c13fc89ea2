"""Time truehessian and its peers side by side on identical work; see docs/performance.md."""
