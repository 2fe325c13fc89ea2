from .runner import run as run
