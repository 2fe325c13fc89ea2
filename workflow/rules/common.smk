"""What all included files need, the checked configuration first."""

import functools
import hashlib
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The package that lies beside the workflow, whatever else is installed: its code is what
# fingerprints are taken of. Before anything is imported, the folders in which a file random.py of
# the user's would stand before the standard library's leave the path.
SOURCE = Path(workflow.basedir) / "src"
BEHIND = [Path.cwd(), Path(workflow.basedir), Path(workflow.basedir) / "workflow/rules"]
sys.path[:] = [
    str(SOURCE),
    *(p for p in sys.path if p and Path(p).absolute() not in BEHIND),
]

from truehessian.pipeline.config import checks as configuration, loss
from truehessian.data.sources import SOURCES
from truehessian.networks import NETWORKS
from truehessian.networks.libraries import LIBRARIES
from truehessian.networks.losses import LOSSES
from truehessian.networks.places import PLACES
from truehessian.operators import OPERATORS
from truehessian.pipeline.stage import (
    hosted,
    modules,
    once,
    origins,
    own_code,
    presence,
)
from truehessian.pipeline.stage.fingerprint import Tree
from truehessian.report.contents import CONTENTS, catalogue
from truehessian.report.papers import coverage as items
from truehessian.theory.estimates import ESTIMATORS
from truehessian.theory.predictions import PREDICTIONS

# Scripts find the package there too when they run in a conda environment, which holds the
# dependencies only. A network of one's own may lie in the working directory.
once.make_importable(SOURCE, *BEHIND)


def as_the_run_began(name, make):
    """What `make` gave when the main process read the workflow, in the jobs as well."""
    return once.inherited(name, make, fresh=workflow.is_main_process)


def named_by(kind, *paths):
    """Name of a value that depends on import paths, as an environment variable may have."""
    return f"{kind}_{hashlib.sha256(' '.join(paths).encode()).hexdigest()[:16]}"


@functools.cache
def own(*paths):
    """What sums up the user's own code behind import paths, as the run began; None without any."""
    theirs = [path for path in paths if not modules.is_ours(path)]
    if not theirs:
        return None
    return as_the_run_began(
        named_by("OWN", *theirs), lambda: own_code.of_paths(theirs).summary()
    )


def network_path(run):
    """Import path of a run's network; that of a library counts as its module."""
    return NETWORKS.path(RUNS[run].model.name)


def source_path(run):
    """Import path of what a run's data come from."""
    return SOURCES.path(RUNS[run].dataset.name)


def loss_path(run):
    """Import path of a run's loss."""
    return LOSSES.path(loss.name_of(RUNS[run].loss))


def library_paths(run):
    """Import path of how the library that a run's network comes from is asked, if it does."""
    library, colon, _ = RUNS[run].model.name.partition(":")
    return [LIBRARIES.path(library)] if colon and library in LIBRARIES else []


def uses(run):
    """Import paths of what stages take from catalogues: the network and the loss."""
    return [network_path(run), *library_paths(run), loss_path(run)]


def augmentation_path(run):
    """Import path of what a run's data are augmented by, if it is the user's own."""
    path = RUNS[run].dataset.augmentation
    return [] if path is None else [path]


def places_of(run):
    """Import path of the place that weights of the user's own are fetched from, if they are."""
    checkpoints = RUNS[run].checkpoints
    return [] if isinstance(checkpoints, str) else [PLACES.path(checkpoints.place)]


def operator_path(run, kind):
    """Import path of a further matrix of a run."""
    return OPERATORS.path(RUNS[run].operators[kind].operator)


def check_own_code(run):
    """Say better than an import what is not found or hidden."""
    named = {
        "model": network_path(run),
        "dataset": source_path(run),
        "loss": loss_path(run),
    }
    named |= {"dataset.augmentation": path for path in augmentation_path(run)}
    named |= {
        f"operators.{kind}": operator_path(run, kind) for kind in RUNS[run].operators
    }
    for section, path in named.items():
        try:
            own(path)
        except (ImportError, ValueError) as error:
            raise configuration.ConfigError(f"runs.{run}.{section}: {error}") from error


frozen = as_the_run_began("CONFIG", lambda: dict(config))
config.clear()
config.update(frozen)

try:
    infos = as_the_run_began(
        "INFOS", lambda: configuration.data_infos(configuration.check(config))
    )
    checked = configuration.check(config, infos)
    RUNS = checked.analysed
    if workflow.is_main_process:
        for run in RUNS:
            check_own_code(run)
        configuration.check_losses(checked)
        configuration.check_networks(checked)
except configuration.ConfigError as error:
    # A traceback would bury the one sentence that matters.
    raise SystemExit(f"config: {error}") from None

# The same as plain values, for what knows no types.
PLAIN_RUNS = {name: run.model_dump() for name, run in RUNS.items()}
TRAINED = [name for name, run in RUNS.items() if run.training]
IMPORTED = [name for name, run in RUNS.items() if run.checkpoints]
if workflow.is_main_process:
    folders = [".", ".snakemake", "results", *(f"results/{run}" for run in RUNS)]
    presence.check_writable(map(Path, folders))
    os.environ[presence.VARIABLE] = presence.begin(Path(".snakemake"))
    hosted.offer()
    # Matrices of tables are small, and jobs are as many as cores: with a thread for each core in
    # each job NumPy's would wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

WITH_BATCHES = [name for name, run in RUNS.items() if run.batch]
WITH_AUGMENTATION = [name for name, run in RUNS.items() if run.augmentation]
WITH_OPERATORS = [name for name, run in RUNS.items() if run.operators]
WITH_SUBSAMPLES = [name for name, run in RUNS.items() if run.subsamples]
WITH_GROUPS = [name for name, run in RUNS.items() if run.groups]
WITH_BATCHNORM = [name for name, run in RUNS.items() if run.batchnorm]
WITH_SELF_TEST = [name for name, run in RUNS.items() if run.self_test]
WITH_SUBSPACE = [name for name, run in RUNS.items() if run.subspace]
WITH_PARTS = [name for name, run in RUNS.items() if run.parts]
WITH_VARIANCE = [name for name, run in RUNS.items() if run.variance]
WITH_SHARPNESS = [name for name, run in RUNS.items() if run.sharpness]
WITH_INFLUENCE = [name for name, run in RUNS.items() if run.influence]
FORMATS = ["pdf", "svg", "png", "csv"]
CODE = Tree()

MOST_THREADS = 8


def one_of(names):
    """Regular expression that matches these names only (nothing, if there are none)."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def code(script, *uses):
    """Fingerprint of a script and of all project code that it reaches, as the run began.

    With the import paths of what the stage takes from catalogues, whose code it reaches as well.
    """
    path = Path(workflow.basedir) / "scripts" / f"{script}.py"
    name = named_by(f"CODE_{script}", *uses)
    digest = as_the_run_began(name, lambda: CODE.fingerprint(path, uses))
    return " ".join([digest, *uses])


def code_for_run(script):
    """`code` of a stage that uses network and loss of the run, as a function of wildcards."""
    return lambda wildcards: code(script, *uses(wildcards.run))


def own_of_run(wildcards):
    """`own` of network and loss of the run, as a function of wildcards."""
    return own(*uses(wildcards.run))


def imported_from(wildcards):
    """The inputs of a checkpoint of the user's own: its file, unless it has to be fetched."""
    place, where = RUNS[wildcards.run].place
    file = place.file(where, int(wildcards.epoch))
    dataset = f"results/{wildcards.run}/dataset.safetensors"
    return {"dataset": dataset} | ({} if file is None else {"source": file})


def place_of(wildcards):
    """Where a checkpoint is fetched from, and its version; None where it is a file."""
    place, where = RUNS[wildcards.run].place
    epoch = int(wildcards.epoch)
    if place.file(where, epoch) is not None:
        return None
    name = RUNS[wildcards.run].checkpoints.place
    version = as_the_run_began(
        named_by("PLACE", name, where, str(epoch)), lambda: place.version(where, epoch)
    )
    return {"name": name, "where": where, "version": version}


def settings(name):
    """Settings of a section as a function of wildcards; see `Run.settings`."""
    return lambda wildcards: RUNS[wildcards.run].settings(name)


@functools.cache
def data_sources(run):
    """What a run's data are read from beside their settings, as the run began."""
    try:
        return as_the_run_began(
            f"DATA_{run}",
            lambda: origins.of_data_as_remembered(RUNS[run].settings("dataset")),
        )
    except OSError as error:
        raise SystemExit(f"config: runs.{run}.dataset: {error}") from None


def data_sources_of(wildcards):
    """`data_sources` as a function of wildcards."""
    return data_sources(wildcards.run)


def network(run):
    """A network that has to be imported, for which no checkpoint's word is taken; else None."""
    return RUNS[run].network if ":" in RUNS[run].model.name else None


def network_of(wildcards):
    """`network` as a function of wildcards."""
    return network(wildcards.run)


def epoch_of(wildcards):
    """The epoch as a number."""
    return int(wildcards.epoch)


def batch_sizes(run):
    """Batch sizes of a run, ascending."""
    return sorted(RUNS[run].batch.sizes if RUNS[run].batch else [])


def factors(run):
    """Augmentation factors of a run, ascending."""
    section = RUNS[run].augmentation
    return sorted(item.factor for item in section.factors) if section else []


def parts_of(run):
    """Numbers of disjoint parts that a run's data are cut into, ascending."""
    return sorted(RUNS[run].subsamples.parts if RUNS[run].subsamples else [])


def chunk_sizes(run):
    """Numbers of examples that a run normalises together, ascending."""
    return sorted(RUNS[run].batchnorm.chunk_sizes if RUNS[run].batchnorm else [])


def per_batchnorm_epoch(pattern, run, **values):
    """Paths for each epoch at which a run compares modes of batch normalisation."""
    return [
        path
        for epoch in RUNS[run].epochs_of("batchnorm")
        for path in expand(pattern, run=run, epoch=epoch, **values)
    ]


def batchnorm_spectra(run):
    """Spectra by batch statistics of a run."""
    names = [f"batchnorm-{size}" for size in chunk_sizes(run)]
    return per_batchnorm_epoch(
        "results/{run}/spectra/{epoch}/{name}.npz", run, name=names
    )


def groups_of(run):
    """Spectra of groups of parameters of a run."""
    path = "results/{run}/spectra/{epoch}/groups.npz"
    return expand(path, run=run, epoch=RUNS[run].epochs_of("groups"))


def optimiser_of(wildcards):
    """The state of the optimiser that trained a checkpoint, where the run names one."""
    path = RUNS[wildcards.run].sharpness.optimiser_at(int(wildcards.epoch))
    return {} if path is None else {"optimiser": path}


def sharpness_of(run):
    """Curvature along gradients of a run."""
    path = "results/{run}/sharpness/{epoch}.csv"
    return expand(path, run=run, epoch=RUNS[run].epochs_of("sharpness"))


def parts_of_examples(run):
    """Parts of single examples, at the epochs at which a run measures them."""
    path = "results/{run}/variance/{epoch}.parts.npz"
    return expand(path, run=run, epoch=RUNS[run].epochs_of("parts"))


def influence_of(run):
    """Curvature at outputs of examples that are left out, of a run."""
    path = "results/{run}/influence/{epoch}.csv"
    return expand(path, run=run, epoch=RUNS[run].epochs_of("influence"))


def self_test_epochs(run):
    """Epochs at which a run's estimators are tried."""
    return RUNS[run].epochs_of("self_test")


def subsamples_of(run):
    """Spectra of all subsamples of a run."""
    names = [f"subsample-{parts}" for parts in parts_of(run)]
    return per_epoch("results/{run}/spectra/{epoch}/{name}.npz", run, name=names)


def spectra_of(run):
    """All spectra of a run but those of subsamples."""
    kinds = ["full", "ggn", "test"]
    kinds += [f"batch-{size}" for size in batch_sizes(run)]
    kinds += [f"noise-{size}" for size in batch_sizes(run)]
    kinds += [f"augmented-{factor}" for factor in factors(run)]
    kinds += sorted(RUNS[run].operators)
    return expand(
        "results/{run}/spectra/{epoch}/{kind}.npz",
        run=run,
        epoch=RUNS[run].epochs,
        kind=kinds,
    )


def per_epoch(pattern, run, **values):
    """Paths for each epoch to analyse, the epoch varying slowest."""
    return [
        path
        for epoch in RUNS[run].epochs
        for path in expand(pattern, run=run, epoch=epoch, **values)
    ]


def cores_of_this_machine():
    """The cores that Snakemake may use; None where it submits jobs to a cluster."""
    try:
        return workflow.cores
    except WorkflowError:
        return None


def share_of_cores(num_jobs):
    """Threads of each of so many jobs that may run at once: no core idles, none has two.

    Products of small networks gain nothing from many. Jobs of a cluster have nodes of their own;
    a profile says otherwise by `set-threads`.
    """
    cores = as_the_run_began("CORES", cores_of_this_machine)
    return 4 if cores is None else max(1, min(MOST_THREADS, cores // num_jobs))


def threads_of_products():
    """Threads of a stage that multiplies: there is one such job per checkpoint at least."""
    processes = max((run.spectrum.processes for run in RUNS.values()), default=1)
    share = share_of_cores(sum(len(run.epochs) for run in RUNS.values()))
    return max(share, processes)  # a thread for each process of a job


def gpus(name="spectrum"):
    """GPUs of a stage, as a function of wildcards."""
    return lambda wildcards: getattr(RUNS[wildcards.run], name).num_gpus


def table(name):
    """The three files of a table."""
    return [
        f"results/{{run}}/tables/{name}.{suffix}" for suffix in ("csv", "tex", "md")
    ]


def figure(name):
    """The files of a figure, one per format, and its data."""
    return [f"results/{{run}}/figures/{name}.{suffix}" for suffix in FORMATS]


def noise_shown(run):
    """The spectrum of noise to draw: of the smallest batches, at the last epoch."""
    path = "results/{run}/spectra/{epoch}/noise-{size}.npz"
    last, sizes = max(RUNS[run].epochs), batch_sizes(run)[:1]
    return expand(path, run=run, epoch=last, size=sizes)


def table_of(name, run):
    """The files of a table of a run; none if the run lacks what it needs."""
    wanted = catalogue.has(PLAIN_RUNS[run], CONTENTS.load(name).table)
    return expand(table(name), run=run) if wanted else []


def figures_of(kind, run):
    """The files of all figures of a kind of a run; none if the run lacks what they need."""
    names = catalogue.names_of(CONTENTS.load(kind), PLAIN_RUNS[run])
    return in_formats(names, run)


def stems(run):
    """Names of a run's stem plots of one spectrum each, and the files of these spectra."""
    return {
        case.figure: f"results/{run}/{case.inputs['spectrum'][0]}"
        for content in catalogue.entries().values()
        if content.make is None
        and "spectrum" in content.inputs
        and catalogue.has(PLAIN_RUNS[run], content.figure)
        for case in catalogue.cases_of(content, PLAIN_RUNS[run])
    }


def in_formats(figures, run):
    """The files of figures of a run, one per format."""
    return [path for name in figures for path in expand(figure(name), run=run)]


def inputs_of(content, run):
    """All files that a figure or table with a `make` is made of, as they lie in the run's folder."""
    cases = catalogue.cases_of(content, PLAIN_RUNS[run])
    files = [path for case in cases for paths in case.inputs.values() for path in paths]
    return list(dict.fromkeys(files))


def cases_of(content, run):
    """For each figure that a `make` gives: the numbers in its name, and its files by name."""
    return [
        {"numbers": case.numbers, "inputs": dict(sorted(case.inputs.items()))}
        for case in catalogue.cases_of(content, PLAIN_RUNS[run])
    ]


def costs_of(run):
    """What preparing data, training and all measurements of a run have taken."""
    every = ["measure_full_spectra"]
    every += ["measure_batch_spectra"] if run in WITH_BATCHES else []
    every += ["measure_augmented_spectra"] if run in WITH_AUGMENTATION else []
    every += ["measure_subsample_spectra"] if run in WITH_SUBSAMPLES else []
    every += ["measure_directions"] if run in WITH_VARIANCE else []
    every += ["measure_subspace"] if run in WITH_SUBSPACE else []
    epochs = {stage: RUNS[run].epochs for stage in every}
    epochs["measure_batchnorm_spectra"] = RUNS[run].epochs_of("batchnorm")
    epochs["measure_group_spectra"] = RUNS[run].epochs_of("groups")
    epochs["measure_parts"] = RUNS[run].epochs_of("parts")
    epochs["measure_self_test"] = RUNS[run].epochs_of("self_test")
    epochs["measure_sharpness"] = RUNS[run].epochs_of("sharpness")
    epochs["measure_influence"] = RUNS[run].epochs_of("influence")
    names = ["prepare_dataset", *(["train_network"] if run in TRAINED else [])]
    names += [f"{stage}/{epoch}" for stage in epochs for epoch in epochs[stage]]
    names += [
        f"measure_operator_spectrum/{epoch}-{kind}"
        for epoch in RUNS[run].epochs
        for kind in RUNS[run].operators
    ]
    return [f"results/{run}/costs/{name}.tsv" for name in names]


def files_of(run):
    """All files that the report on a run is made from."""
    files = [
        path for name in catalogue.figures_of(PLAIN_RUNS[run]) for path in figure(name)
    ]
    files += [
        path for name in catalogue.tables_of(PLAIN_RUNS[run]) for path in table(name)
    ]
    files += ["results/{run}/training.csv"] if run in TRAINED else []
    files = expand(files, run=run) + spectra_of(run) + subsamples_of(run)
    files += batchnorm_spectra(run) + groups_of(run) + sharpness_of(run)
    files += influence_of(run)
    if run in WITH_VARIANCE:
        files += per_epoch("results/{run}/variance/{epoch}.csv", run)
    files += parts_of_examples(run)
    return files + costs_of(run)


def contract_files(wildcards):
    """All files of all runs."""
    return [path for run in RUNS for path in files_of(run)]


def report_templates():
    """Templates and captions of the report, by paths that stay the same when the clone is moved."""
    folder = Path(workflow.basedir) / "workflow/report"
    return sorted(os.path.relpath(path) for path in folder.iterdir())


def package_data(name):
    """A data file of the package, by a path that stays the same when the clone is moved."""
    return os.path.relpath(Path(workflow.basedir) / "src/truehessian" / name)


def files_of_item(name):
    """Figures and tables of a paper's item, of all runs that it can be made of."""
    return [
        path
        for run in items.runs_of(name, PLAIN_RUNS)
        for files, names in (
            (figure, catalogue.figures_of(PLAIN_RUNS[run])),
            (table, catalogue.tables_of(PLAIN_RUNS[run])),
        )
        for found in names
        if items.has(name, found)
        for path in expand(files(found), run=run)
    ]


def item(name):
    """Files of an item, or of all items of an aggregate, as a function of wildcards.

    Called only where the item is asked for: what no run can be made into is refused in one
    sentence, and what an aggregate goes without is said.
    """

    def files(wildcards):
        try:
            left_out = items.check(name, PLAIN_RUNS)
        except ValueError as error:
            # Snakemake would bury any other exception in a traceback.
            raise SystemExit(f"config: {error}") from None
        for sentence in left_out:
            print(sentence, file=sys.stderr)
        parts = items.AGGREGATES.get(name, (name,))
        found = [path for part in parts for path in files_of_item(part)]
        if name in items.AGGREGATES:
            found += expand(table("papers"), run=items.runs_of(name, PLAIN_RUNS))
        return list(dict.fromkeys(found))

    return files
