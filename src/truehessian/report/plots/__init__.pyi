from .curvature import (
    shrinkage as shrinkage,
    true_hessian as true_hessian,
)
from .prediction import (
    theory_vs_empirical as theory_vs_empirical,
    variance as variance,
)
from .sampling import (
    distributions as distributions,
    noise as noise,
    overlaps as overlaps,
)
from .saving import (
    save as save,
)
from .self_test import (
    self_test as self_test,
)
from .spectra import (
    boxes_of as boxes_of,
    boxplot as boxplot,
    stacked_stems as stacked_stems,
    stem as stem,
    stems_of as stems_of,
)
from .style import (
    new_figure as new_figure,
    styled as styled,
)
from .training import (
    learning_curves as learning_curves,
)
