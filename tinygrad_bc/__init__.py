"""A small, exact autograd framework on NumPy.

>>> import tinygrad_bc as tg
>>> x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> y = (x**2).sum()
>>> y.backward()
>>> x.grad
tensor([2., 4., 6.])
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinygrad_bc import errors as errors
from tinygrad_bc import linalg as linalg
from tinygrad_bc import ops as ops
from tinygrad_bc.anomaly import detect_anomaly as detect_anomaly
from tinygrad_bc.autograd import enable_grad as enable_grad
from tinygrad_bc.autograd import grad as grad
from tinygrad_bc.autograd import is_grad_enabled as is_grad_enabled
from tinygrad_bc.autograd import no_grad as no_grad
from tinygrad_bc.derivatives import hessian as hessian
from tinygrad_bc.derivatives import hvp as hvp
from tinygrad_bc.derivatives import jacobian as jacobian
from tinygrad_bc.derivatives import jvp as jvp
from tinygrad_bc.derivatives import value_and_grad as value_and_grad
from tinygrad_bc.derivatives import vjp as vjp
from tinygrad_bc.ops import *
from tinygrad_bc.primitive import ErrorSample as ErrorSample
from tinygrad_bc.primitive import Sample as Sample
from tinygrad_bc.primitive import composite as composite
from tinygrad_bc.primitive import primitive as primitive
from tinygrad_bc.scope import scope as scope
from tinygrad_bc.spectrum import largest_hessian_eigenvalues as largest_hessian_eigenvalues
from tinygrad_bc.tensor import Tensor as Tensor
from tinygrad_bc.tensor import tensor as tensor

if TYPE_CHECKING:
    from tinygrad_bc import check as check
    from tinygrad_bc import data as data
    from tinygrad_bc import draw as draw
    from tinygrad_bc import nn as nn
    from tinygrad_bc import optim as optim
    from tinygrad_bc import train as train
    from tinygrad_bc.check import gradcheck as gradcheck
    from tinygrad_bc.compiler import compile as compile
    from tinygrad_bc.derivation import derive as derive
    from tinygrad_bc.draw import graph as graph
    from tinygrad_bc.page import explain as explain

__version__ = "0.4.0"

# What recording and differentiating can do without is imported when it is first asked for.
_LATER = {
    **dict.fromkeys(("check", "data", "draw", "nn", "optim", "train"), ""),
    "compile": "compiler",
    "derive": "derivation",
    "explain": "page",
    "gradcheck": "check",
    "graph": "draw",
}


if not TYPE_CHECKING:  # or a type checker would believe that every name exists

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        module = import_module(f"{__name__}.{_LATER[name] or name}")
        thing = globals()[name] = getattr(module, name) if _LATER[name] else module
        return thing


def __dir__() -> list[str]:
    """List what is public: the operations, and the names imported above as themselves."""
    own = """
        __version__ ErrorSample Sample Tensor composite detect_anomaly enable_grad errors grad hessian hvp
        is_grad_enabled jacobian jvp largest_hessian_eigenvalues linalg
        no_grad ops primitive scope tensor value_and_grad vjp
    """
    return sorted([*own.split(), *_LATER, *dir(ops)])
