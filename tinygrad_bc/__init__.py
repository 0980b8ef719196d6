"""A small, exact, fast autograd framework on NumPy.

>>> import tinygrad_bc as tg
>>> x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> y = (x**2).sum()
>>> y.backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from tinygrad_bc import check, errors, ops
from tinygrad_bc.autograd import grad, no_grad
from tinygrad_bc.check import gradcheck
from tinygrad_bc.ops import *
from tinygrad_bc.primitive import ErrorSample, Sample, primitive
from tinygrad_bc.tensor import Tensor, tensor

__version__ = "0.1.0"

__all__ = [
    "ErrorSample",
    "Sample",
    "Tensor",
    "check",
    "errors",
    "grad",
    "gradcheck",
    "no_grad",
    "primitive",
    "tensor",
    *ops.__all__,
]
