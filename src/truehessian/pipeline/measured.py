"""Which series of products a run makes, section by section of its configuration."""

from collections.abc import Iterator, Sequence

from truehessian.measurements.costs.augmented import augmented_spectra
from truehessian.measurements.costs.batches import batch_spectra
from truehessian.measurements.costs.batchnorm import batchnorm_spectra
from truehessian.measurements.costs.directions import held_out, variance
from truehessian.measurements.costs.full import full_spectra
from truehessian.measurements.costs.groups import group_spectra
from truehessian.measurements.costs.influence import influence
from truehessian.measurements.costs.operators import operator_spectrum
from truehessian.measurements.costs.parts import example_parts
from truehessian.measurements.costs.self_test import self_test
from truehessian.measurements.costs.series import Series
from truehessian.measurements.costs.sharpness import sharpness
from truehessian.measurements.costs.subsamples import subsample_spectra
from truehessian.measurements.costs.subspace import subspace
from truehessian.pipeline.config.run import Run
from truehessian.spectra import vectors


def by_a_run(run: Run, num_groups: int) -> Iterator[tuple[Iterator[Series], Sequence[int]]]:
    """Go through all series of a run, in the order in which they are measured, and their epochs.

    Parameters
    ----------
    run
        Its configuration.
    num_groups
        Groups of parameters that have spectra of their own.
    """
    yield _spectra(run), run.epochs
    yield _groups(run, num_groups), run.epochs_of("groups")
    yield _batchnorm(run), run.epochs_of("batchnorm")
    yield _self_test(run), run.epochs_of("self_test")
    yield _directions(run), run.epochs
    yield _sharpness(run), run.epochs_of("sharpness")
    yield _influence(run), run.epochs_of("influence")
    yield _parts(run), run.epochs_of("parts")


def _spectra(run: Run) -> Iterator[Series]:
    """Spectra at every epoch."""
    train = run.dataset.num_train
    yield from full_spectra(run.spectrum, train=train, test=run.dataset.num_test)
    for name, how in run.operators.items():
        yield operator_spectrum(name, how, train=train)
    if run.batch:
        for pair in batch_spectra(run.batch, train=train):
            yield from pair
    if run.augmentation:
        yield from augmented_spectra(run.augmentation.factors, train=train)
    if run.subsamples:
        yield from subsample_spectra(run.subsamples, train=train)


def _groups(run: Run, count: int) -> Iterator[Series]:
    """Spectra of groups of parameters, at some of the epochs."""
    if run.groups:
        yield group_spectra(run.groups, groups=count, train=run.dataset.num_train)


def _batchnorm(run: Run) -> Iterator[Series]:
    """Spectra by batch statistics, at some of the epochs."""
    if run.batchnorm:
        sizes = run.batchnorm.chunk_sizes
        yield from batchnorm_spectra(sizes, run.spectrum, train=run.dataset.num_train)


def _self_test(run: Run) -> Iterator[Series]:
    """Estimators' self-test, at some of the epochs."""
    how = run.self_test
    if how:
        yield self_test(
            parts=how.parts,
            repetitions=how.repetitions,
            folds=how.folds,
            steps=how.steps,
            train=run.dataset.num_train,
        )


def _directions(run: Run) -> Iterator[Series]:
    """Products along given directions, and the held-out folds."""
    if run.variance:
        ritz = 2 * vectors.kept_of_each_end(run.spectrum.vectors, run.spectrum.steps)
        yield variance(run.variance, ritz_vectors=ritz, train=run.dataset.num_train)
        yield held_out(run.variance, ritz_vectors=ritz, test=run.dataset.num_test)
    if run.subspace:
        yield subspace(run.subspace, train=run.dataset.num_train)


def _sharpness(run: Run) -> Iterator[Series]:
    """Curvature along gradients, at some of the epochs."""
    how = run.sharpness
    if how:
        yield from sharpness(
            sizes=run.sharpness_sizes,
            folds=how.folds,
            steps=how.steps,
            preconditioned=how.optimiser is not None,
            train=run.dataset.num_train,
        )


def _parts(run: Run) -> Iterator[Series]:
    """Products with single examples."""
    if run.parts:
        kept = vectors.kept_of_each_end(run.spectrum.vectors, run.spectrum.steps)
        yield example_parts(run.parts, kept_of_each_end=kept, train=run.dataset.num_train)


def _influence(run: Run) -> Iterator[Series]:
    """Examples left out of training, at some of the epochs."""
    how = run.influence
    if how:
        yield from influence(
            examples=how.count(run),
            solver_steps=how.solver_steps,
            steps=how.steps,
            train=run.dataset.num_train,
        )
