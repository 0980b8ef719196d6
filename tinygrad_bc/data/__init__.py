"""Loading, checking, splitting, batching and augmenting data, and measuring what was made of it."""

from tinygrad_bc.data.augmentation import GaussianNoise, MixUp, RandomCrop, RandomRotation, RandomShift
from tinygrad_bc.data.identity import fingerprint
from tinygrad_bc.data.loader import Augmentation, Batch, DataLoader, Dataset, TensorDataset
from tinygrad_bc.data.metrics import Interval, binary_outcomes, bootstrap_interval, threshold_costs
from tinygrad_bc.data.splits import split
from tinygrad_bc.data.validation import as_array, check_finite, check_labels, check_lengths
from tinygrad_bc.data.wisconsin import FEATURES, as_columns, load_wisconsin, scale_min_max, tutorial_split

__all__ = [
    "FEATURES",
    "Augmentation",
    "Batch",
    "DataLoader",
    "Dataset",
    "GaussianNoise",
    "Interval",
    "MixUp",
    "RandomCrop",
    "RandomRotation",
    "RandomShift",
    "TensorDataset",
    "as_array",
    "as_columns",
    "binary_outcomes",
    "bootstrap_interval",
    "check_finite",
    "check_labels",
    "check_lengths",
    "fingerprint",
    "load_wisconsin",
    "scale_min_max",
    "split",
    "threshold_costs",
    "tutorial_split",
]
