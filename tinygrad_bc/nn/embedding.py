"""Vectors for things that are counted: words, categories."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.generators import as_generator
from tinygrad_bc.nn._parameters import check_count, new_parameter
from tinygrad_bc.nn.init import normal_
from tinygrad_bc.nn.module import Module

__all__ = ["Embedding"]


class Embedding(Module):
    """A table of vectors, looked up by their numbers: ``y = weight[x]``.

    Source: Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin, "A neural probabilistic language model", 2003, sec. 2.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        How many vectors there are, and their length.
    padding_idx : int, optional
        The number of a vector that is 0 and gets no gradient; negative: counted from the end.
    generator : numpy.random.Generator or int
        Where the initial values are drawn from; a whole number is the seed of a new one.
    dtype : optional
        The element type of the table.

    Attributes
    ----------
    weight : (num_embeddings, embedding_dim)
        Drawn from the standard normal distribution.

    Raises
    ------
    ArgumentError
        If one of the numbers is not possible.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        generator: np.random.Generator | int,
        dtype: Any = np.float64,
    ) -> None:
        self.num_embeddings = check_count("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = check_count("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                f"Embedding: padding_idx={padding_idx} is not the number of a row: there are {num_embeddings}"
            )
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        table = new_parameter((num_embeddings, embedding_dim), dtype)
        self.weight = normal_(table, generator=as_generator(generator, "Embedding"))
        if self.padding_idx is not None:
            rows = self.weight.data.copy()
            rows[self.padding_idx] = 0
            self.weight.data = rows

    def forward(self, x: Any) -> Any:
        """Return the (..., embedding_dim) vectors of whole numbers `x`, (...)."""
        return ops.embedding(x, self.weight, padding_idx=self.padding_idx)

    def extra_repr(self) -> str:
        """Return the settings."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
