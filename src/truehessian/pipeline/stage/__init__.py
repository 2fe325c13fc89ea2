"""What a workflow's script needs around its one library call; not for use in a notebook."""

from truehessian.pipeline.stage.runner import run

__all__ = ["run"]
