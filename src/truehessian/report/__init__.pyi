from .page import (
    render as render,
)
from .run import (
    RunReport as RunReport,
    collect as collect,
)
