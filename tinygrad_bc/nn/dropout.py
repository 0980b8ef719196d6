"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.generators import as_generator
from tinygrad_bc.nn._parameters import check_share
from tinygrad_bc.nn.module import Module
from tinygrad_bc.ops._arguments import shaped
from tinygrad_bc.ops.elementwise import _floating
from tinygrad_bc.primitive import constant
from tinygrad_bc.record import Value
from tinygrad_bc.tracing import draw

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, each element is set to 0 with probability `p`, and the others are divided by ``1 - p``.

    So the expected value stays the same, and after `eval` the layer returns its input. Source: N. Srivastava,
    G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", 2014, sec. 10 for this "inverted" form.

    The mask is part of the record, as a constant called ``mask``: the backward pass, pictures and repetitions of the
    record use the one that was drawn.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.
    generator : numpy.random.Generator or int
        Where the masks are drawn from, one after the other; a whole number is the seed of a new one.

    Raises
    ------
    ArgumentError
        If `p` is not between 0 and 1.
    """

    def __init__(self, p: float = 0.5, *, generator: np.random.Generator | int) -> None:
        self.p = check_share("Dropout", "p", p)
        self.generator = as_generator(generator, "Dropout")

    def forward(self, x: Any) -> Any:
        """Return an array or tensor of the shape of `x`, which may be any."""
        x = _floating(shaped(x))
        if not self.training or self.p == 0:
            return x
        kept = draw(lambda: self.generator.random(x.shape), self.generator) >= self.p
        mask: Any = ops.astype(kept / (1 - self.p) if self.p < 1 else kept, x.dtype)
        mask = mask if isinstance(mask, Value) else constant(mask)
        return x * mask.named("mask")

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"
