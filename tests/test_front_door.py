"""`import truehessian as th`: its names come when they are used, and say what they are."""

import subprocess
import sys

import pytest

import truehessian as th

NAMES = {
    "Hessian", "GGN", "Fisher", "EmpiricalFisher", "GradientCovariance", "CompiledHessian", "Noise",
    "Shared",
    "DiagonalBlocks", "group_spectra",
    "LinearCombination", "Operator", "Stream", "Spectrum", "Eigenpairs", "TraceEstimate",
    "DirectionalVariance", "Density", "spectrum", "eigenpairs", "trace", "variance", "density",
    "data", "networks", "operators", "spectra", "theory", "measurements", "report", "pipeline",
    "__version__",
}  # fmt: skip
HEAVY = ("torch", "pandas", "matplotlib", "numpy", "scipy", "sklearn", "snakemake", "pydantic")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_imports_nothing_heavy():
    code = f"import sys, truehessian; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(code) == "[]"


def test_importing_imports_next_to_no_modules():
    """Counted and not timed, since a busy machine has no patience."""
    code = "import sys; bare = {*sys.modules}; import truehessian; print(*{*sys.modules} - bare)"
    assert len(python(code).split()) < 60


def test_tab_completion_shows_the_public_names():
    assert set(dir(th)) == set(th.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_there(name):
    assert getattr(th, name) is not None


@pytest.mark.parametrize("name", ["spectrum", "density", "variance"])
def test_a_function_is_not_hidden_by_a_module_of_its_name(name):
    code = (
        "import truehessian.spectra.spectrum, truehessian.spectra.density, "
        f"truehessian.measurements.variance; import truehessian as th; print(callable(th.{name}))"
    )
    assert python(code) == "True"


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="hessain"):
        th.hessain  # noqa: B018


def test_the_version_is_that_of_the_installed_package():
    from importlib import metadata

    assert th.__version__ == metadata.version("truehessian")


def test_results_are_read_without_pytorch():
    """A laptop that has none looks at spectra from a cluster."""
    blocked = "import sys; sys.modules['torch'] = None; import truehessian as th; "
    assert (
        python(f"{blocked}print(th.Spectrum.__name__, th.density.__name__)") == "Spectrum density"
    )
