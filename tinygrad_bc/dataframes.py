"""Letting ``DataFrame @ tensor`` reach the tensor."""

from __future__ import annotations

import functools
import sys
from typing import Any

from tinygrad_bc.record import Value

__all__ = ["let_products_through"]


def let_products_through() -> None:
    """Make pandas leave a product with a tensor to the tensor, as it does with every other operator.

    For ``+`` and the others pandas asks ``__pandas_priority__`` of the right operand. For ``@`` it does not: it
    turns whatever stands there into an array, and the history of a tensor is lost. So the ``@`` of
    DataFrame and Series is given that question too; products with anything else are untouched.
    pandas is not imported for this: it is done when pandas is there.
    """
    pandas: Any = sys.modules.get("pandas")
    if not hasattr(pandas, "Series"):
        return
    for cls in (pandas.DataFrame, pandas.Series):
        if not hasattr(cls.__matmul__, "leaves_tensors_alone"):
            cls.__matmul__ = _deferring(cls.__matmul__)


def _deferring(product: Any) -> Any:
    @functools.wraps(product)
    def product_unless_tensor(self: Any, other: Any) -> Any:
        return NotImplemented if isinstance(other, Value) else product(self, other)

    product_unless_tensor.leaves_tensors_alone = True  # type: ignore[attr-defined]
    return product_unless_tensor
