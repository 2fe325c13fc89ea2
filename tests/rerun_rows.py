"""After a complete run something is changed: which jobs' bodies run?

`uv run python tests/rerun_rows.py` does all of it in temporary folders and prints the table of
docs/caching.md.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "scripts", "src", "workflow")

EXPENSIVE = {
    "prepare_dataset",
    "train_network",
    "measure_full_spectra",
    "measure_batch_spectra",
    "measure_augmented_spectra",
    "measure_subsample_spectra",
    "measure_batchnorm_spectra",
    "measure_self_test",
    "measure_directions",
    "measure_group_spectra",
    "measure_sharpness",
    "measure_influence",
    "measure_subspace",
    "measure_parts",
}
SPECTRA = {name for name in EXPENSIVE if name.startswith("measure_")}
AT_CHOSEN_EPOCHS = {
    "measure_batchnorm_spectra",
    "measure_group_spectra",
    "measure_self_test",
    "measure_sharpness",
    "measure_influence",
}
TABLES = {
    "make_checkpoints",
    "tabulate_extremal_ritz_values",
    "tabulate_predictions",
    "tabulate_papers",
    "tabulate_self_test",
}
FIGURES = {
    "plot_stems",
    "plot_extremes",
    "make_density",
    "make_learning_curves",
    "plot_theory",
    "compare_batchnorm",
    "tabulate_self_test",  # which draws it too
    "make_checkpoints",  # by the script that makes figures as well
    "make_groups",  # its table too
    "make_sharpness",
    "make_influence",
    "make_subspace_overlaps",
    "make_subspaces",
    "make_prediction_errors",
    "make_spectral_distances",
}
REPORT = {"write_report"}


# The network is one of the user's own, in several modules. Beside it lie files with the names of
# standard modules, which must not stand before these.
OWN_NETWORK = {
    "own_net.py": (
        "from own_parts import width\nfrom truehessian.networks.preresnet import PreResNet\n\n\n"
        "def make(num_classes, input_shape):\n"
        "    return PreResNet(num_classes, input_shape, depth=8, width=width.WIDTH)\n"
    ),
    "own_parts/width.py": "WIDTH = 2\n",
    "own_parts/unreached.py": "WIDTH = 2\n",
    **{f"{name}.py": "raise SystemError\n" for name in ("random", "queue", "platform", "secrets")},
}


def _own_network(settings: dict) -> None:
    settings["runs"]["reduced"]["model"] = {"name": "own_net:make"}


def _briefer(settings: dict) -> None:
    """Every stage, with less to do for those that take most of the time."""
    settings["runs"]["reduced"]["self_test"].update(parts=[2], repetitions=2)
    settings["runs"]["reduced"]["batch"].update(sizes=[16])


class Clone:
    """A clone of the project with a small experiment, and a store of its own."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.store = store

    @classmethod
    def make(cls, folder: Path) -> "Clone":
        """Copy the project and do its experiment once."""
        clone = cls(folder / "clone", folder / "store")
        clone.folder.mkdir()
        for part in PARTS:
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, clone.folder / part)
        shutil.copy(ROOT / "tests" / "reduced.yaml", clone.folder / "mine.yaml")
        for name, text in OWN_NETWORK.items():
            (clone.folder / name).parent.mkdir(exist_ok=True)
            (clone.folder / name).write_text(text)
        clone.configure(_own_network)
        clone.configure(_briefer)
        clone.snakemake()
        return clone

    def twin(self, folder: Path) -> "Clone":
        """Copy the clone and its store, as they are."""
        shutil.copytree(self.folder, folder / "clone", symlinks=True)
        shutil.copytree(self.store, folder / "store")
        return Clone(folder / "clone", folder / "store")

    def snakemake(self, *arguments: str, path: str = "") -> str:
        """Run Snakemake, with further folders to import from; everything that it printed."""
        done = subprocess.run(
            # As the command `snakemake` does it; without -P, Python itself looks here first.
            [sys.executable, "-P", "-m", "snakemake", "--configfile", "mine.yaml", *arguments],
            cwd=self.folder,
            env={**os.environ, "TRUEHESSIAN_CACHE": str(self.store), "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout + done.stderr

    def bodies(self) -> list[str]:
        """Run Snakemake and list the stages whose body ran, once per job."""
        begin = time.time()
        self.snakemake()
        names = []
        for log in self.folder.glob("results/**/logs/**/*.log"):
            if log.stat().st_mtime >= begin and "computed in" in log.read_text():
                parts = log.relative_to(self.folder / "results").parts
                names.append(parts[parts.index("logs") + 1].removesuffix(".log"))
        return sorted(names)

    def planned(self) -> set[str]:
        """Names of the stages that a dry run announces."""
        said = self.snakemake("--dry-run")
        names = re.findall(r"^(?:local)?rule (\w+):", said, flags=re.MULTILINE)
        return {re.sub(r"_reduced$", "", name) for name in names} - {"all"}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file, which has to be there."""
        text = (self.folder / path).read_text()
        if old not in text:
            raise ValueError(f"{path} does not contain {old!r}")
        (self.folder / path).write_text(text.replace(old, new))

    def configure(self, change: Callable[[dict], None]) -> None:
        """Change the settings of the run."""
        path = self.folder / "mine.yaml"
        settings = yaml.safe_load(path.read_text())
        change(settings)
        path.write_text(yaml.safe_dump(settings))


class Row(NamedTuple):
    """A change, and the stages whose bodies may run after it."""

    change: str
    act: Callable[[Clone], None]
    expected: set[str]
    said: str


def _touch(clone: Clone) -> None:
    for path in clone.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()


def _reword(clone: Clone) -> None:
    for path in [*clone.folder.glob("src/**/*.py"), *clone.folder.glob("scripts/*.py")]:
        text = path.read_text()
        text = re.sub(r'^"""', '"""Reworded. ', text, count=1)
        path.write_text(text.replace("\n\n\n", "\n\n\n# A new comment.\n\n\n"))


def _extend(clone: Clone) -> None:
    """One entry more in each catalogue of what costs time, in a file of its own."""
    package = clone.folder / "src/truehessian"
    for room, entry in {
        "data/sources": '"digits":',
        "networks": '"mlp":',
        "networks/losses": '"cross_entropy":',
        "networks/places": '"files":',
        "operators": '"ggn":',
    }.items():
        (package / room / "another.py").write_text("ANOTHER = None\n")
        module = f"truehessian.{room.replace('/', '.')}.another"
        line = f'"another": "{module}:ANOTHER", {entry}'
        clone.edit(f"src/truehessian/{room}/__init__.py", entry, line)


def _extend_the_report(clone: Clone) -> None:
    """A prediction, an estimator and a figure with its table more."""
    module = "report.contents.further"
    target = clone.folder / f"src/truehessian/{module.replace('.', '/')}.py"
    shutil.copy(ROOT / "tests/extra_entries.py", target)
    for room, entry, name in (
        ("theory/predictions", '"goe":', "twice"),
        ("theory/estimates", '"naive":', "halfway_back"),
        ("report/contents", '"papers":', "negative_share"),
    ):
        line = f'"{name}": "truehessian.{module}:{name.upper()}", {entry}'
        clone.edit(f"src/truehessian/{room}/__init__.py", entry, line)


def _reword_logs(clone: Clone) -> None:
    clone.edit("src/truehessian/spectra/lockstep.py", "converged after %d", "known after %d")
    clone.edit("src/truehessian/data/folds.py", "must be in 1 .. {num", "must lie in 1 .. {num")


def _rename(clone: Clone) -> None:
    clone.edit("mine.yaml", "reduced", "renamed")


def _move(clone: Clone) -> None:
    clone.folder = clone.folder.rename(clone.folder.with_name("moved"))


def _delete(clone: Clone) -> None:
    shutil.rmtree(clone.folder / "results")
    shutil.rmtree(clone.folder / ".snakemake")


def _seed_and_back(clone: Clone) -> None:
    def seed(value: int) -> Callable[[dict], None]:
        return lambda settings: settings["runs"]["reduced"]["training"].update(seed=value)

    clone.configure(seed(1))
    ran = set(clone.bodies())
    missing = (EXPENSIVE - {"prepare_dataset"}) - ran
    if missing:
        raise RuntimeError(f"a new seed must run everything, but {missing} did not run")
    clone.configure(seed(0))


def _swap(clone: Clone) -> None:
    def change(settings: dict) -> None:
        batch = settings["runs"]["reduced"]["batch"]
        batch["folds"], batch["noise_steps"] = batch["noise_steps"], batch["folds"]

    clone.configure(change)


def _another_epoch(clone: Clone) -> None:
    clone.configure(lambda settings: settings["runs"]["reduced"]["epochs"].insert(1, 1))


CHEAP = TABLES | FIGURES | REPORT
ROWS = [
    Row("nothing", lambda clone: None, set(), "none"),
    Row("`touch` of every file in the tree", _touch, set(), "none"),
    Row("comment, docstring and formatting in every module", _reword, set(), "none"),
    Row("log lines and sentences of errors", _reword_logs, set(), "none"),
    Row("one more source of data, network, loss and operator", _extend, set(), "none"),
    Row(
        "one more prediction, estimator and figure with its table",
        _extend_the_report,
        CHEAP | {"make_negative_share"},
        "tables, figures, report",
    ),
    Row(
        "colour of a figure",
        lambda clone: clone.edit("src/truehessian/report/plots/style.py", "#c8c8c8", "#c9c9c9"),
        FIGURES | REPORT,
        "figures, report",
    ),
    Row(
        "prediction formula",
        lambda clone: clone.edit(
            "src/truehessian/theory/predictions/isotropic.py",
            "def goe(",
            "UNUSED = 1\n\n\ndef goe(",
        ),
        CHEAP,
        "tables, figures, report",
    ),
    Row(
        "body of the Lanczos recurrence",
        lambda clone: clone.edit(
            "src/truehessian/spectra/lanczos.py",
            "max(recurrence.largest, image.norm().item())",
            "max(image.norm().item(), recurrence.largest)",
        ),
        SPECTRA | CHEAP,
        "spectra and what follows from them",
    ),
    Row(
        "a product's code, bit-identical products",
        lambda clone: clone.edit(
            "src/truehessian/operators/hessian.py", "if not pairs:", "if len(pairs) == 0:"
        ),
        SPECTRA | CHEAP,
        "spectra, tables, figures, report",
    ),
    Row(
        "a module that a network of one's own does not reach",
        lambda clone: clone.edit("own_parts/unreached.py", "2", "3"),
        set(),
        "none",
    ),
    Row(
        "a module that a network of one's own imports",
        lambda clone: clone.edit("own_parts/width.py", "2", "3"),
        (EXPENSIVE - {"prepare_dataset"}) | CHEAP,
        "all but preparing data",
    ),
    Row(
        "one more epoch to analyse",
        _another_epoch,
        SPECTRA | CHEAP,
        "the stages of that epoch, tables, figures, report",
    ),
    Row("run renamed", _rename, REPORT, "report; all others are restored"),
    Row("clone moved to another folder", _move, set(), "none"),
    Row(
        "`rm -rf results .snakemake`",
        _delete,
        set(),
        "none: all are restored",
    ),
    Row(
        "training seed changed and changed back",
        _seed_and_back,
        set(),
        "everything once; then all are restored",
    ),
    Row(
        "two settings of one section swap their values",
        _swap,
        {"measure_batch_spectra"} | CHEAP,
        "the stages that use them, tables, figures, report",
    ),
]


def unexpected(row: Row, ran: list[str]) -> set[str]:
    """Stages whose bodies ran although nothing that decides their result had changed."""
    return {re.sub(r"_reduced$", "", name) for name in ran} - row.expected


def main() -> None:
    """Print the table."""
    print("| after a complete run | jobs whose body runs | measured |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        base_folder = Path(name) / "base"
        base_folder.mkdir()
        base = Clone.make(base_folder)
        for number, row in enumerate(ROWS):
            clone = base.twin(Path(name) / str(number))
            row.act(clone)
            begin = time.perf_counter()
            ran = clone.bodies()
            expensive = sum(stage in EXPENSIVE for stage in ran)
            verdict = f" (not expected: {unexpected(row, ran)})" if unexpected(row, ran) else ""
            seconds = f"{time.perf_counter() - begin:.0f} s"
            print(
                f"| {row.change} | {row.said} | {expensive} expensive and "
                f"{len(ran) - expensive} cheap jobs, {seconds}{verdict} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
