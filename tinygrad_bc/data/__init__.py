"""Loading and preparing the data of the examples."""

from tinygrad_bc.data.wisconsin import FEATURES, as_columns, load_wisconsin, scale_min_max, tutorial_split

__all__ = ["FEATURES", "as_columns", "load_wisconsin", "scale_min_max", "tutorial_split"]
