"""The directions in which a loss landscape is cut: random and filter-normalised, or those of a training run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygrad_bc.errors import ArgumentError, ShapeError
from tinygrad_bc.record import Array, Value, as_array, as_values

__all__ = ["Directions", "Snapshot", "snapshot_arrays"]

Snapshot = Mapping[str, Any] | Sequence[Any]
"""Parameters as they were: an array for each, in their order, or such arrays by name."""


@dataclass(frozen=True)
class Directions:
    """One or two directions in the space of all parameters. Made by `random`, `pca` or `of`.

    Attributes
    ----------
    vectors : tuple of list of ndarray
        For each direction an array per parameter, of its shape.
    titles : tuple of str
        What stands at the axes.
    shares : tuple of float or None
        The share of the trajectories' variance along each principal component.
    """

    vectors: tuple[list[Array], ...]
    titles: tuple[str, ...]
    shares: tuple[float, ...] | None = None

    @classmethod
    def random(
        cls,
        parameters: Value | Iterable[Value],
        count: int = 2,
        *,
        generator: np.random.Generator | int,
        one_dimensional: Literal["zero", "scaled"] = "zero",
    ) -> Directions:
        """Return Gaussian directions with every filter as long as the parameters' own filter.

        H. Li, Z. Xu, G. Taylor, C. Studer and T. Goldstein, "Visualizing the Loss Landscape of Neural Nets", 2018, §4:
        d[i, j] ← d[i, j] / ‖d[i, j]‖ · ‖θ[i, j]‖ for filter j of layer i: row ``d[j]`` of a Linear's weight, ``d[j]``
        with all its axes of a convolution's. Scaling a layer up and the next one down, which changes nothing for relu,
        then changes nothing in the picture either.

        Parameters
        ----------
        parameters : iterable of Tensor
        count : int
            1 or 2 directions.
        generator : Generator or int
            What the directions are drawn from, or a seed.
        one_dimensional : {"zero", "scaled"}
            Parameters with at most one axis, which are biases and the scales of normalisation. ``"zero"``, as in the
            paper's pictures: they stay. ``"scaled"``: each element is a filter of its own, so it becomes ±|θ|. (The
            authors' code takes +θ there, for both directions the same.)

        Raises
        ------
        ArgumentError
            If an option is not possible, or a direction would be zero.
        """
        if count not in (1, 2) or one_dimensional not in ("zero", "scaled"):
            raise ArgumentError(
                f"expected count 1 or 2 and one_dimensional 'zero' or 'scaled', got {count!r} and {one_dimensional!r}"
            )
        weights = [p._array for p in as_values(parameters, "parameters")]
        random = np.random.default_rng(generator)
        drawn = [[_filter_normalised(random.standard_normal(w.shape), w) for w in weights] for _ in range(count)]
        if one_dimensional == "zero":
            drawn = [[d if w.ndim > 1 else np.zeros_like(d) for d, w in zip(vector, weights)] for vector in drawn]
        if not all(any(d.any() for d in vector) for vector in drawn):
            raise ArgumentError(
                "no direction is left: all parameters are zero, or have at most one axis, and these stay unless "
                "one_dimensional='scaled'"
            )
        return cls(tuple(drawn), tuple(f"random direction {i + 1}" for i in range(count)))

    @classmethod
    def pca(cls, *trajectories: Iterable[Snapshot]) -> Directions:
        """Return the two principal components of training runs: orthonormal, the one with most variance first.

        Li et al., 2018, §7: PCA of the matrix with the rows θ₀ − θₙ, …, θₙ₋₁ − θₙ. A run hardly moves in random
        directions; most of its way is in two or three directions of its own. Several runs are joined row by row. PCA
        takes off the mean, so that θₙ does not matter. Signs are such that the first run begins on the positive side.

        Parameters
        ----------
        *trajectories : iterable of snapshots
            Of each run the parameters at some of its steps. They are held in memory at once.

        Raises
        ------
        ArgumentError
            If the snapshots do not span a plane, or one of them is not finite.
        """
        runs = [[snapshot_arrays(s) for s in trajectory] for trajectory in trajectories]
        snapshots = [s for run in runs for s in run]
        if len(snapshots) < 3:
            raise ArgumentError(f"a plane needs at least three snapshots, got {len(snapshots)}")
        shapes = [array.shape for array in snapshots[0]]
        for i, s in enumerate(snapshots):
            if [array.shape for array in s] != shapes:
                raise ShapeError(f"snapshot {i} has shapes {[array.shape for array in s]}, the first one has {shapes}")
        rows = np.stack([np.concatenate([array.ravel() for array in s]) for s in snapshots]).astype(np.float64)
        if not np.isfinite(rows).all():
            raise ArgumentError(
                "a snapshot holds a number that is not finite: leave out the steps at which a run diverged"
            )
        _, lengths, components = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        if len(lengths) < 2 or lengths[1] <= 1e-10 * lengths[0]:
            raise ArgumentError("the snapshots lie on one line, or are all the same: they do not span a plane")
        shares = lengths**2 / np.sum(lengths**2)
        way = rows[0] - rows[len(runs[0]) - 1]
        vectors = [v if v @ way >= 0 else -v for v in components[:2]]
        return cls(
            tuple(_split(v, shapes) for v in vectors),
            tuple(f"principal component {i + 1}" for i in range(2)),
            (float(shares[0]), float(shares[1])),
        )

    @classmethod
    def of(cls, *vectors: Sequence[Any]) -> Directions:
        """Return given directions, one or two, each an array per parameter: θ₂ − θ₁, say, from one model to another."""
        return cls(
            tuple([as_array(d) for d in v] for v in vectors), tuple(f"direction {i + 1}" for i in range(len(vectors)))
        )


def snapshot_arrays(snapshot: Snapshot) -> list[Array]:
    """Return the arrays of a snapshot, in their order."""
    parts = snapshot.values() if isinstance(snapshot, Mapping) else snapshot
    return [part._array if isinstance(part, Value) else as_array(part) for part in parts]


def _filter_normalised(direction: Array, weights: Array) -> Array:
    """Return the direction with each ``direction[i]`` scaled to the norm of ``weights[i]``."""
    filters = len(weights) if weights.ndim else 1
    d, w = direction.reshape(filters, -1), weights.reshape(filters, -1)
    scaled = d * (np.linalg.norm(w, axis=1) / np.linalg.norm(d, axis=1))[:, None]
    return scaled.reshape(weights.shape)


def _split(vector: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [piece.reshape(shape) for piece, shape in zip(np.split(vector, ends), shapes)]
