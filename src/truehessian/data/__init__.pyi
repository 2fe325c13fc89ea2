from .augmentation import Augmented as Augmented
from .catalogue import fetch as fetch
from .dataset import Dataset as Dataset
from .examples import Examples as Examples
from .folds import shuffled as shuffled
