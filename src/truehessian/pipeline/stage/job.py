"""One job of the workflow, as values: names and paths, settings, threads and the log."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# Name of the output that says what the others have taken, where a rule has it.
COST = "cost"


class Job(NamedTuple):
    """What Snakemake hands to a script, without Snakemake.

    Attributes
    ----------
    script
        The rule's script.
    code
        Fingerprint of the script when the workflow was read.
    uses
        Import paths of what it takes from catalogues, whose code is a part of the fingerprint.
    inputs
        Named input files; a list where a name has several.
    outputs
        Named output files; a list where a name has several.
    settings
        Parameters by name, but for the fingerprints.
    own_code
        Summary of the user's own code among `uses` when the workflow was read, else None.
    data_sources
        What the data set was to be read from at that time, where the stage reads one.
    membership
        In which generation of runs the job was started, see `presence`.
    """

    script: Path
    code: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    settings: dict[str, Any]
    threads: int
    log: Path | None
    own_code: dict[str, Any] | None = None
    data_sources: dict[str, Any] | None = None
    membership: str | None = None
    uses: tuple[str, ...] = ()

    @classmethod
    def from_snakemake(cls, snakemake: Any, membership: str | None = None) -> "Job":
        """Read the object that Snakemake injects into a script, and what its run gave to jobs.

        The stage's own script lies in the folder `scripts` beside that of the script of all rules.
        """
        settings = dict(snakemake.params.items())
        code, *uses = settings.pop("code").split()
        own_code = settings.pop("own_code", None)
        data_sources = settings.pop("data_sources", None)
        return cls(
            Path(os.path.normpath(f"{snakemake.scriptdir}/../scripts/{code.partition(':')[0]}.py")),
            code,
            {name: _plain(value) for name, value in snakemake.input.items()},
            {name: _plain(value) for name, value in snakemake.output.items()},
            settings,
            snakemake.threads,
            Path(snakemake.log[0]) if snakemake.log else None,
            own_code,
            data_sources,
            membership,
            tuple(uses),
        )

    @property
    def processes(self) -> int:
        """How many processes share the work."""
        return int((self.settings.get("settings") or {}).get("processes", 1))

    def files(self) -> dict[str, Path]:
        """Output files under flat names: `name`, or `name.0`, `name.1` of a list."""
        flat: dict[str, Path] = {}
        for name, value in self.outputs.items():
            if isinstance(value, list):
                flat.update({f"{name}.{i}": Path(item) for i, item in enumerate(value)})
            else:
                flat[name] = Path(value)
        return flat

    def call(self, main: Callable[..., None], files: dict[str, Path], state: Path) -> None:
        """Call a script's `main`; outputs are ``NAME_out``, `state` is for those that take it.

        The output `COST` is not for the script.
        """
        outputs: dict[str, Any] = {}
        for name, value in self.outputs.items():
            if name == COST:
                continue
            if isinstance(value, list):
                paths = [str(files[f"{name}.{i}"]) for i in range(len(value))]
                outputs[f"{name}_out"] = paths
            else:
                outputs[f"{name}_out"] = str(files[name])
        extra = {"state": state} if "state" in inspect.signature(main).parameters else {}
        main(**self.inputs, **outputs, **typed(main, self.settings), **extra)


def typed(main: Callable[..., None], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Make the parameter `settings` of a script, a plain mapping, what its `main` says that it is.

    Parameters
    ----------
    main
        Of a script.
    parameters
        By name; `settings` may be absent.

    Raises
    ------
    pydantic.ValidationError
        The settings are not those of this script.
    """
    taken = inspect.signature(main, eval_str=True).parameters
    kind: Any = (
        taken["settings"].annotation if "settings" in parameters else inspect.Parameter.empty
    )
    if kind is inspect.Parameter.empty:
        return dict(parameters)
    from pydantic import TypeAdapter  # which a stage that is restored can do without

    settings = TypeAdapter(kind).validate_python(parameters["settings"])
    return {**parameters, "settings": settings}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else [str(item) for item in value]
