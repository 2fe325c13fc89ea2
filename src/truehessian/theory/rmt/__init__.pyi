from .free_sum import (
    FreeSum as FreeSum,
)
from .inversion import (
    cdf_of as cdf_of,
    cdf_of_density as cdf_of_density,
    density_of as density_of,
    kolmogorov_distance as kolmogorov_distance,
    quantile_of as quantile_of,
)
from .marchenko_pastur import (
    MarchenkoPastur as MarchenkoPastur,
)
from .measure import (
    DiscreteMeasure as DiscreteMeasure,
)
from .outliers import (
    covariance_outlier as covariance_outlier,
    covariance_overlap as covariance_overlap,
    covariance_threshold as covariance_threshold,
    deformed_outlier as deformed_outlier,
    deformed_overlap as deformed_overlap,
)
from .semicircle import (
    Semicircle as Semicircle,
)
from .semicircular_sum import (
    SemicircularSum as SemicircularSum,
)
from .spiked import (
    bbp_threshold as bbp_threshold,
    outlier as outlier,
    overlap as overlap,
    spike_of_outlier as spike_of_outlier,
    weyl_bound as weyl_bound,
)
