"""A page that steps through a computation and its backward pass: one HTML file, in the folder `web` as its parts."""

from tinygrad_bc.page.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
