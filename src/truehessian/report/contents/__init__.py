"""Figures and tables of the report: a module for each topic, and a line for each here.

An entry is a `base.Content`. Within its section of the page it stands in the order of these lines.
"""

from truehessian.registry import Registry

_ROOM = "truehessian.report.contents"

CONTENTS = Registry(
    "figure or table of the report",
    {
        "learning_curves": f"{_ROOM}.training:LEARNING_CURVES",
        "checkpoints": f"{_ROOM}.training:CHECKPOINTS",
        "stem-full": f"{_ROOM}.spectra:STEM_FULL",
        "stem-batch": f"{_ROOM}.spectra:STEM_BATCH",
        "stem-augmented": f"{_ROOM}.spectra:STEM_AUGMENTED",
        "stem-noise": f"{_ROOM}.spectra:STEM_NOISE",
        "stem-ggn": f"{_ROOM}.spectra:STEM_GGN",
        "stem-operators": f"{_ROOM}.operators:STEM_OPERATORS",
        "density": f"{_ROOM}.densities:DENSITY",
        "spectral_distances": f"{_ROOM}.batch_spectra:SPECTRAL_DISTANCES",
        "boxplot-largest": f"{_ROOM}.extremes:BOXPLOT_LARGEST",
        "boxplot-smallest": f"{_ROOM}.extremes:BOXPLOT_SMALLEST",
        "extremal_ritz_values": f"{_ROOM}.extremes:EXTREMAL_RITZ_VALUES",
        "sharpness": f"{_ROOM}.sharpness:SHARPNESS",
        "subspace_overlaps": f"{_ROOM}.subspace_overlaps:SUBSPACE_OVERLAPS",
        "groups": f"{_ROOM}.groups:GROUPS",
        "variance": f"{_ROOM}.variance:VARIANCE",
        "theory_vs_empirical": f"{_ROOM}.theory:THEORY_VS_EMPIRICAL",
        "prediction_errors": f"{_ROOM}.theory:PREDICTION_ERRORS",
        "subspaces": f"{_ROOM}.subspaces:SUBSPACES",
        "distributions": f"{_ROOM}.theory:DISTRIBUTIONS",
        "overlaps": f"{_ROOM}.theory:OVERLAPS",
        "batch_predictions": f"{_ROOM}.theory:BATCH_PREDICTIONS",
        "outliers": f"{_ROOM}.theory:OUTLIERS",
        "noise": f"{_ROOM}.theory:NOISE",
        "noise_scaling": f"{_ROOM}.theory:NOISE_SCALING",
        "stem-batchnorm": f"{_ROOM}.batchnorm:STEM_BATCHNORM",
        "batchnorm": f"{_ROOM}.batchnorm:BATCHNORM",
        "true_hessian": f"{_ROOM}.truth:TRUE_HESSIAN",
        "influence": f"{_ROOM}.influence:INFLUENCE",
        "self_test": f"{_ROOM}.truth:SELF_TEST",
        "shrinkage": f"{_ROOM}.truth:SHRINKAGE",
        "augmentation": f"{_ROOM}.truth:AUGMENTATION",
        "papers": f"{_ROOM}.papers:PAPERS",
    },
)
