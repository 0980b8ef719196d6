"""The loss landscape: the loss on a line or a plane through the parameters, and how optimisers move across it."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.autograd import no_grad
from tinygrad_bc.draw.directions import Directions, Snapshot, snapshot_arrays
from tinygrad_bc.errors import ArgumentError, LossWarning, ShapeError
from tinygrad_bc.files import check_destination, write_atomically
from tinygrad_bc.record import Array, Value, as_array, as_values, note_change
from tinygrad_bc.spectrum import largest_hessian_eigenvalues

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

__all__ = ["Landscape", "Trajectory", "compare_landscapes"]

STEPS = 51  # points along an axis, as in the paper's pictures
MARGIN = 0.18  # around trajectories
NARROWEST = 0.45  # of the longer axis: else trajectories along a line would leave no landscape to see


@dataclass(frozen=True)
class Trajectory:
    """One optimiser's way, seen from the plane.

    Attributes
    ----------
    name : str
    steps : ndarray of shape (n,)
        When the snapshots were taken.
    points : ndarray of shape (n, 1) or (n, 2)
        The coordinates of the nearest points of the line or plane.
    losses : ndarray of shape (n,)
        The loss of the snapshots themselves.
    distances : ndarray of shape (n,)
        How far from the plane they are.
    """

    name: str
    steps: Array
    points: Array
    losses: Array
    distances: Array


class Landscape:
    """The loss around the parameters: θ ↦ L(θ + a δ + b η).

    H. Li, Z. Xu, G. Taylor, C. Studer and T. Goldstein, "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018.
    The parameters as they are now are the centre. Whatever is computed, they are afterwards what they were, to the bit
    and to the array that holds them, also if it fails; nothing is recorded.

    Parameters
    ----------
    loss_fn : callable
        Computes the loss, a single number, from the parameters: ``lambda: loss(model(X), Y)``. The same one at every
        call, so a model with dropout or batch normalisation belongs into ``eval()`` first.
    parameters : iterable of Tensor
        What is moved: ``model.parameters()``.
    directions : Directions or sequence, optional
        `Directions.pca` of training runs, `Directions.random`, or one or two sequences with an array per parameter. By
        default two random, filter-normalised ones.
    generator : Generator or int, optional
        What random directions are drawn from, or a seed. Needed if `directions` is left out.

    Attributes
    ----------
    directions : Directions
    size : int
        How many numbers the parameters are.
    loss : float
        At the centre.
    alphas, betas : ndarray
        The grid of the last `evaluate`. `betas` is None on a line.
    losses : ndarray of shape (len(alphas),) or (len(alphas), len(betas))
        The losses there.
    trajectories : list of Trajectory
    eigenvalues : ndarray
        Of the Hessian at the centre, once `sharpness` has been called.

    Raises
    ------
    ArgumentError
        If directions are missing, zero or parallel, or the loss is not one finite number, the same at two calls.
    ShapeError
        If the directions do not fit the parameters.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> W = tg.tensor([[1.0, 2.0]], requires_grad=True)
    >>> landscape = Landscape(lambda: (W**2).sum(), [W], directions=[[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    >>> landscape.evaluate(([-1, 0, 1], [0.0, 1.0]))
    array([[ 4.,  9.],
           [ 5., 10.],
           [ 8., 13.]])
    """

    def __init__(
        self,
        loss_fn: Callable[[], Any],
        parameters: Value | Iterable[Value],
        directions: Directions | Sequence[Any] | None = None,
        *,
        generator: np.random.Generator | int | None = None,
    ) -> None:
        self._loss_fn = loss_fn
        self._parameters = as_values(parameters, "parameters")
        if len({id(p) for p in self._parameters}) < len(self._parameters):
            raise ArgumentError("a parameter was given twice, and would be moved twice")
        self._centre = [p._array.astype(np.float64) for p in self._parameters]
        self.size = sum(c.size for c in self._centre)
        self.directions = self._checked(self._chosen(directions, generator))
        self.loss = self._loss_at_centre()
        self.alphas: Array | None = None
        self.betas: Array | None = None
        self.losses: Array | None = None
        self.trajectories: list[Trajectory] = []
        self.eigenvalues: Array | None = None

    # --- directions ----------------------------------------------------------------------------------

    def _chosen(self, directions: Any, generator: Any) -> Directions:
        if directions is None:
            if generator is None:
                raise ArgumentError(
                    "random directions are drawn from a generator: pass generator=np.random.default_rng(0), or a seed; "
                    "or directions=Directions.pca(snapshots)"
                )
            return Directions.random(self._parameters, generator=generator)
        return directions if isinstance(directions, Directions) else Directions.of(*directions)

    def _checked(self, directions: Directions) -> Directions:
        shapes = [c.shape for c in self._centre]
        for vector, title in zip(directions.vectors, directions.titles):
            if [d.shape for d in vector] != shapes:
                raise ShapeError(f"{title} has the shapes {[d.shape for d in vector]}, the parameters {shapes}")
        if len(directions.vectors) not in (1, 2):
            raise ArgumentError(f"expected one direction or two, got {len(directions.vectors)}")
        # The products of the directions: what a point's coordinates are found from.
        self._gram = np.array([[_dot(v, w) for w in directions.vectors] for v in directions.vectors])
        lengths = np.sqrt(np.diag(self._gram))
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ArgumentError("a direction is zero, or holds a number that is not finite")
        if abs(np.linalg.det(self._gram / np.outer(lengths, lengths))) < 1e-12 and len(lengths) == 2:
            raise ArgumentError("the two directions are parallel: they span a line and not a plane")
        return directions

    # --- evaluation ----------------------------------------------------------------------------------

    def evaluate(
        self, grid: ArrayLike | tuple[ArrayLike, ArrayLike] | float | None = None, steps: int = STEPS
    ) -> Array:
        """Compute the loss on a grid, and keep it for the pictures.

        Parameters
        ----------
        grid : optional
            ``(alphas, betas)``, the coordinates along the two directions; ``alphas`` alone for the line along the
            first; or a number r, for −r … r along each. By default −1 … 1, or what the trajectories cover,
            with a margin.
        steps : int
            How many points along an axis, where `grid` does not say it.

        Returns
        -------
        ndarray of shape (len(alphas), len(betas)) or (len(alphas),)
            ``losses[i, j]`` = L(θ + alphas[i] δ + betas[j] η). NaN where the loss is not finite, with a `LossWarning`.

        Raises
        ------
        ArgumentError
            If the coordinates are not increasing and finite, or the loss is finite nowhere.
        """
        alphas, betas = self._axes(grid, steps)
        points = [(a, b) for a in alphas for b in ([None] if betas is None else betas)]
        with self._moving(), np.errstate(all="ignore"):  # what is not finite is told below
            flat = np.array([self._loss_at(self._displaced(point)) for point in points])
        finite = np.isfinite(flat)
        if not finite.any():
            raise ArgumentError("the loss is not finite anywhere on the grid: a smaller one may help")
        if not finite.all():
            warnings.warn(
                f"the loss is not finite at {np.count_nonzero(~finite)} of {flat.size} points, which are left out. A "
                "loss of logits, such as tg.binary_cross_entropy_with_logits, is finite everywhere",
                LossWarning,
                stacklevel=2,
            )
        self.alphas, self.betas = alphas, betas
        self.losses = np.where(finite, flat, np.nan).reshape(len(alphas), *(() if betas is None else (len(betas),)))
        return self.losses

    def _axes(self, grid: Any, steps: int) -> tuple[Array, Array | None]:
        plane = len(self._gram) == 2
        if grid is None or (not isinstance(grid, tuple) and np.ndim(grid) == 0):
            spans = self._spans() if grid is None else [(-float(grid), float(grid))] * len(self._gram)
            axes = [np.linspace(low, high, steps) for low, high in spans]
        else:
            axes = [as_array(a).astype(np.float64) for a in (grid if isinstance(grid, tuple) else (grid,))]
        if len(axes) > len(self._gram):
            raise ArgumentError("coordinates along two directions were given, there is only one")
        for axis in axes:
            if axis.ndim != 1 or len(axis) < 2 or not np.isfinite(axis).all() or not (np.diff(axis) > 0).all():
                raise ArgumentError(
                    f"the coordinates along a direction are at least two increasing numbers, got {axis}"
                )
        return axes[0], axes[1] if plane and len(axes) == 2 else None

    def _spans(self) -> list[tuple[float, float]]:
        if not self.trajectories:
            return [(-1.0, 1.0)] * len(self._gram)
        points = np.concatenate([np.zeros((1, len(self._gram))), *(t.points for t in self.trajectories)])
        low, high = points.min(axis=0), points.max(axis=0)
        longest = (high - low).max() or 1.0
        half = np.maximum(high - low, NARROWEST * longest) * (0.5 + MARGIN)
        return [(float(m - h), float(m + h)) for m, h in zip((low + high) / 2, half)]

    def _displaced(self, point: Iterable[Any]) -> list[Array]:
        moved = self._centre
        for coordinate, vector in zip(point, self.directions.vectors):
            if coordinate is not None:
                moved = [m + coordinate * d for m, d in zip(moved, vector)]
        return moved

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """Let the parameters be moved; afterwards each has the very array that it had, dated as before."""
        before = [(p, p._data, p._changed) for p in self._parameters]
        try:
            with no_grad():
                yield
        finally:
            for p, data, changed in before:
                p._data, p._changed = data, changed

    def _loss_at(self, arrays: Sequence[Array]) -> float:
        """Return the loss with these arrays in the parameters. Only inside `_moving`."""
        for p, array in zip(self._parameters, arrays):
            p._data = array.astype(p.dtype)
            note_change(p)
        loss = self._loss_fn()
        array = loss._array if isinstance(loss, Value) else as_array(loss)
        if array.size != 1:
            raise ArgumentError(f"loss_fn must return a single number, it returned the shape {array.shape}")
        return float(array.item())

    def _loss_at_centre(self) -> float:
        with self._moving():
            first, second = self._loss_at(self._centre), self._loss_at(self._centre)
        if not np.isfinite(first):
            raise ArgumentError(f"the loss at the parameters is {first}: there is no landscape around it")
        if first != second:
            raise ArgumentError(
                f"two calls of loss_fn gave {first!r} and {second!r} at the same parameters. A landscape needs the "
                "same loss every time: call model.eval() first, and use the same batch at every call"
            )
        return first

    # --- optimisers, sharpness -----------------------------------------------------------------------

    def add_trajectory(self, name: str, snapshots: Iterable[Snapshot], steps: ArrayLike | None = None) -> Trajectory:
        """Project a training run onto the line or plane, and keep it for the pictures.

        A snapshot's coordinates are those of the nearest point (least squares). What is drawn lies on the surface; the
        loss of the snapshot itself is another one if it is far from the plane, and kept too.

        Parameters
        ----------
        name : str
            The optimiser: ``"SGD with momentum"``.
        snapshots : iterable
            The parameters at some steps, an array for each: ``[p.data.copy() for p in model.parameters()]``, or a dict
            of them. One is held at a time.
        steps : array_like, optional
            When they were taken. By default 0, 1, 2 …

        Raises
        ------
        ShapeError
            If a snapshot does not fit the parameters.
        ArgumentError
            If there is none, one is not finite, the name is taken, or `steps` are not increasing, one for each.
        """
        if any(t.name == name for t in self.trajectories):
            raise ArgumentError(f"there is a trajectory {name!r} already")
        rows = []
        with self._moving(), np.errstate(all="ignore"):
            for i, snapshot in enumerate(snapshots):
                arrays = self._fitting(name, i, snapshot_arrays(snapshot))
                rows.append([*self._projected(arrays), self._loss_at(arrays)])
        if not rows:
            raise ArgumentError(f"{name}: there are no snapshots")
        taken = np.arange(len(rows)) if steps is None else as_array(steps)
        if taken.shape != (len(rows),) or not (np.diff(taken) > 0).all():
            raise ArgumentError(f"{name}: expected {len(rows)} increasing steps, one per snapshot, got {taken}")
        table = np.array(rows)
        trajectory = Trajectory(name, taken, table[:, :-2], table[:, -1], table[:, -2])
        self.trajectories.append(trajectory)
        return trajectory

    def _fitting(self, name: str, number: int, arrays: list[Array]) -> list[Array]:
        shapes, expected = [a.shape for a in arrays], [c.shape for c in self._centre]
        if shapes != expected:
            raise ShapeError(
                f"{name}, snapshot {number}: the shapes {shapes} are not those of the parameters, {expected}"
            )
        if not all(np.isfinite(a).all() for a in arrays):
            raise ArgumentError(
                f"{name}, snapshot {number} is not finite: leave out the steps from where a run diverged"
            )
        return arrays

    def _projected(self, arrays: Sequence[Array]) -> list[float]:
        """Return the coordinates of the nearest point, and the distance from it."""
        way = [a - c for a, c in zip(arrays, self._centre)]
        point = np.linalg.solve(self._gram, np.array([_dot(way, v) for v in self.directions.vectors]))
        rest = [a - m for a, m in zip(arrays, self._displaced(point))]
        return [*point.tolist(), float(np.sqrt(_dot(rest, rest)))]

    def sharpness(self, k: int = 1, *, generator: np.random.Generator | int) -> Array:
        """Compute the `k` largest eigenvalues of the Hessian at the centre, for the pictures to name.

        See `tinygrad_bc.spectrum.largest_hessian_eigenvalues`.
        """
        self.eigenvalues = largest_hessian_eigenvalues(self._loss_fn, self._parameters, k, generator=generator)
        return self.eigenvalues

    # --- pictures ------------------------------------------------------------------------------------

    def plot_1d(self, axes: Axes | None = None, theme: str = "light") -> Figure:
        """Return a chart of the loss along each direction through the centre."""
        from tinygrad_bc.draw import landscape_figures as figures

        return figures.profiles(self, axes, theme)

    def profile(self, direction: int, coordinates: ArrayLike) -> Array:
        """Return the losses along one direction, 0 or 1, through the centre."""
        with self._moving(), np.errstate(all="ignore"):
            points = [[x if i == direction else None for i in range(len(self._gram))] for x in as_array(coordinates)]
            return np.array([self._loss_at(self._displaced(point)) for point in points])

    def contours(self, axes: Axes | None = None, theme: str = "light") -> Figure:
        """Return a map of the plane: lines of equal loss, at equal factors from one to the next, and the trajectories.

        Parameters
        ----------
        axes : Axes, optional
            Where to draw, in a figure of one's own. By default a new figure.
        theme : {"light", "dark"}
        """
        from tinygrad_bc.draw import landscape_figures as figures

        return figures.contours(self, axes, theme)

    def surface(self, theme: str = "light", elevation: float = 38.0, azimuth: float | None = None) -> Figure:
        """Return the landscape in three dimensions, with the trajectories on it; what is behind a hill is dotted.

        Parameters
        ----------
        theme : {"light", "dark"}
        elevation, azimuth : float
            Where it is seen from, in degrees. By default from where the trajectories are hidden least.
        """
        from tinygrad_bc.draw import landscape_figures as figures

        return figures.surface(self, theme, elevation, azimuth)

    def animate(
        self, path: str | os.PathLike[str], *, frames: int = 100, fps: int = 16, theme: str = "dark", turn: float = 45.0
    ) -> Path:
        """Write a GIF of the optimisers moving across the landscape while the view turns, and return its path.

        Parameters
        ----------
        path : path-like
            A name that ends in ``.gif``.
        frames, fps : int
            How many pictures, and how many a second.
        theme : {"light", "dark"}
        turn : float
            By how many degrees the view turns from the first to the last picture.

        Raises
        ------
        ArgumentError
            If there is no trajectory, or no picture is asked for.
        RenderError
            If the suffix is another one, or the folder does not exist.
        """
        from tinygrad_bc.draw import landscape_figures as figures

        path, _ = check_destination(path, ("gif",))
        write_atomically(path, figures.animation(self, frames, fps, theme, turn))
        return path

    def save(self, path: str | os.PathLike[str], title: str = "Loss landscape") -> Path:
        """Write a page to turn, point at and play, one file without network or server, and return its path.

        Raises
        ------
        RenderError
            If the suffix is not ``.html``, or the folder does not exist.
        """
        from tinygrad_bc.draw.landscape_page import page

        path, _ = check_destination(path, ("html",))
        write_atomically(path, page(self, title).encode())
        return path

    def __repr__(self) -> str:
        names = "".join(f"; {t.name}" for t in self.trajectories)
        return f"<loss landscape of {self.size} parameters, loss {self.loss:.6g} at the centre{names}>"


def compare_landscapes(landscapes: dict[str, Landscape], theme: str = "light") -> Figure:
    """Return landscapes side by side, surfaces above maps, on one scale of colours and levels.

    As Li et al. compare a deep net with and without skip connections (2018, Figure 1). Filter-normalised directions
    make that comparison fair: the same coordinate means the same relative change of every filter.
    """
    from tinygrad_bc.draw import landscape_figures as figures

    return figures.comparison(landscapes, theme)


def _dot(a: Sequence[Array], b: Sequence[Array]) -> float:
    return float(sum(np.vdot(x, y) for x, y in zip(a, b)))
