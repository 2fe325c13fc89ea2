"""The program of a further process of a stage; see `followers`."""

import json
import os
import sys
import tempfile
from pathlib import Path

from truehessian.pipeline.stage.job import Job
from truehessian.pipeline.stage.runner import main_of


def follow() -> None:
    """Run the stage that the standard input describes, and keep nothing of it."""
    work = json.load(sys.stdin)
    plain = work["job"]
    log = None if plain["log"] is None else Path(plain["log"])
    job = Job(**plain | {"script": Path(plain["script"]), "log": log, "uses": (*plain["uses"],)})
    with tempfile.TemporaryDirectory() as folder:
        drafts = {}
        for number, (name, path) in enumerate(job.files().items()):
            drafts[name] = Path(folder) / str(number) / path.name
            drafts[name].parent.mkdir()
        try:
            job.call(main_of(job), drafts, Path(work["state"]))
        except Exception as error:
            rank = os.environ["RANK"]
            raise SystemExit(f"{job.script.stem}, rank {rank}: {error}") from None


if __name__ == "__main__":
    follow()
