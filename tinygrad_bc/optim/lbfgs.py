"""L-BFGS: steps that know the curvature, learnt from the last changes of the gradient. For full batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from tinygrad_bc.autograd import enable_grad
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tinygrad_bc.optim.optimizer import ANY, Group, Optimizer, State, title
from tinygrad_bc.record import Array, note_change, refuse_while_capturing
from tinygrad_bc.tensor import Tensor

__all__ = ["LBFGS"]

# Nocedal, Wright (2006), section 3.1: for quasi-Newton methods.
C1, C2 = 1e-4, 0.9
LEAST_CURVATURE = 1e-10  # of a step and its change of the gradient, to be learnt from
LEAST_BRACKET = 1e-9


class LBFGS(Optimizer):
    """The limited-memory quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno.

    From the last m steps s = Δθ and the changes y = Δg that they made in the gradient it computes a direction d = −H·g,
    H being an approximate inverse Hessian that is never formed, and goes θ ← θ + t·d: with t = lr, or t found by a line
    search. One call of `step` is up to `max_iter` such iterations, each of which evaluates the loss, and so it needs a
    closure, and the same data every time.

    Parameters
    ----------
    params : iterable of Tensor
        The parameters, in one group.
    lr : float
        The length t of a step in terms of d, or the first that the line search tries.
    max_iter : int
        How many iterations there are in a step.
    max_eval : int, optional
        How many evaluations of the loss there are in a step: by default 1.25 times `max_iter`.
    tolerance_grad, tolerance_change : float
        The step ends when no element of the gradient is larger, or the loss or no parameter changes by more.
    history_size : int
        m.
    line_search_fn : {None, 'strong_wolfe'}
        Whether to look for a t at which loss and slope have fallen enough (the strong Wolfe conditions).

    Raises
    ------
    ArgumentError, GradientError
        See `Optimizer`; and if there is more than one group. From `step`: without a closure, and if a loss or gradient
        is not finite. Whatever a step ends with an error by, the parameters are as they were before.

    References
    ----------
    Liu, Nocedal (1989), On the limited memory BFGS method for large scale optimization, section 2. Nocedal, Wright
    (2006), Numerical optimization, algorithms 7.4 (the direction), 3.5 and 3.6 (the line search), eq. 3.59.
    """

    _ranges: ClassVar = dict.fromkeys(("lr", "tolerance_grad", "tolerance_change"), ANY)

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: Literal["strong_wolfe"] | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )

    def add_param_group(self, group: Group) -> None:
        """Add the one group that there can be."""
        if self.param_groups:
            raise ArgumentError("LBFGS takes all parameters as one vector: there can be only one group")
        super().add_param_group(group)

    def _check_options(self, group: Group) -> None:
        super()._check_options(group)
        for name in ("max_iter", "max_eval", "history_size"):
            if not (isinstance(group[name], int) and group[name] >= 1):
                raise ArgumentError(f"LBFGS: {name} must be a positive whole number, got {group[name]!r}")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ArgumentError(f"LBFGS: line_search_fn is None or 'strong_wolfe', got {group['line_search_fn']!r}")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Go on for up to `max_iter` iterations.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes the loss, calls ``backward()`` on it and returns it.

        Returns
        -------
        object
            What `closure` returned at first.
        """
        refuse_while_capturing("LBFGS.step()", "It decides by the loss how far to go, so it cannot be captured")
        if closure is None:
            raise ArgumentError(
                "LBFGS.step needs a closure, which it calls several times: a function that calls zero_grad(), computes "
                "the loss, calls backward() on it and returns it"
            )
        start = self._position()
        try:
            return self._minimise(closure, start)
        except BaseException:
            self._move_to(start)
            raise

    def _minimise(self, closure: Callable[[], Any], x: Array) -> Any:
        group = self.param_groups[0]
        state: State = {"func_evals": 0, "n_iter": 0, **self.state.get(group["params"][0], {})}
        result, loss, g = self._evaluate(closure)
        evaluations = 1
        for iteration in range(1, group["max_iter"] + 1):
            if _largest(g) <= group["tolerance_grad"]:
                break
            state["n_iter"] += 1
            _learn(state, g, group["history_size"])
            d = _direction(state, g)
            t = group["lr"] * (min(1.0, 1 / float(np.abs(g).sum())) if state["n_iter"] == 1 else 1.0)
            here = _Point(0.0, loss, g, float(g @ d))
            state.update(d=d, t=t, prev_flat_grad=g, prev_loss=loss)
            if here.slope > -group["tolerance_change"]:
                break
            if group["line_search_fn"]:
                new, used = _strong_wolfe(
                    self._along(closure, x, d), here, t, _largest(d), group["max_eval"] - evaluations
                )
                state["t"], loss, g = new.t, new.loss, new.gradient
                evaluations += used
            x = x + state["t"] * d
            self._move_to(x)
            if not group["line_search_fn"] and iteration < group["max_iter"]:  # the last is for the next step to see
                _, loss, g = self._evaluate(closure)
                evaluations += 1
            if evaluations >= group["max_eval"] or _largest(state["t"] * d) <= group["tolerance_change"]:
                break
            if abs(loss - here.loss) < group["tolerance_change"]:
                break
        state["func_evals"] += evaluations
        self.state[group["params"][0]] = state
        return result

    def _along(self, closure: Callable[[], Any], x: Array, d: Array) -> Callable[[float], _Point]:
        """Return the loss as a function of the length t of a step from `x` in direction `d`."""

        def at(t: float) -> _Point:
            self._move_to(x + t * d)
            _, loss, g = self._evaluate(closure)
            return _Point(t, loss, g, float(g @ d))

        return at

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, float, Array]:
        """Return what the closure returns, the loss as a number, and the gradient of all parameters as one vector."""
        with enable_grad():
            result = closure()
        loss = float(result)
        gradients = {p: g for _, p, _, g in self._parameters_with_gradients()}
        if not math.isfinite(loss):
            raise GradientError(f"LBFGS: the loss is {loss}, and the parameters are left as they were before this step")
        parameters = self._all_parameters()
        flat = [gradients[p].reshape(-1) if p in gradients else np.zeros(p.numel(), p.dtype) for p in parameters]
        return result, loss, np.concatenate(flat)

    def _position(self) -> Array:
        return np.concatenate([parameter._array.reshape(-1) for parameter in self._all_parameters()])

    def _move_to(self, x: Array) -> None:
        start = 0
        for parameter in self._all_parameters():
            data = parameter._own_memory()
            note_change(parameter)
            data[...] = x[start : start + data.size].reshape(data.shape)
            start += data.size

    def _restored(self, parameter: Tensor, saved: Mapping[str, Any]) -> State:
        restored = {name: np.array(x) if isinstance(x, np.ndarray) else x for name, x in saved.items()}
        position = self._position()
        for name, x in restored.items():
            if isinstance(x, np.ndarray) and name != "ro" and x.shape[-1:] != position.shape:
                raise ShapeError(f"there are {position.size} elements in all parameters, the saved {name} is {x.shape}")
            if isinstance(x, np.ndarray) and x.dtype != position.dtype:
                raise DTypeError(f"{title(parameter)} is of dtype {position.dtype}, the saved {name} of {x.dtype}")
        return restored


def _largest(x: Array) -> float:
    return float(np.abs(x).max())


def _learn(state: State, g: Array, history_size: int) -> None:
    """Add the last step and the change of the gradient that it made to the history, if the loss is convex there."""
    if state["n_iter"] == 1:
        empty = np.empty((0, g.size), g.dtype)
        state.update(old_dirs=empty, old_stps=empty, ro=np.empty(0, g.dtype), H_diag=1.0)
        return
    y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
    ys = float(y @ s)
    if ys <= LEAST_CURVATURE:
        return
    oldest = max(len(state["ro"]) + 1 - history_size, 0)
    for name, new in (("old_dirs", y), ("old_stps", s), ("ro", 1 / ys)):
        state[name] = np.concatenate([state[name][oldest:], [new]], dtype=g.dtype)
    state["H_diag"] = ys / float(y @ y)


def _direction(state: State, g: Array) -> Array:
    """Return −H·g (Nocedal, Wright, algorithm 7.4): back through the history, a first guess of H, and forth again."""
    ys, ss, ro = state["old_dirs"], state["old_stps"], state["ro"]
    d = -g
    alphas = np.empty_like(ro)
    for i in reversed(range(len(ro))):
        alphas[i] = ro[i] * (ss[i] @ d)
        d -= alphas[i] * ys[i]
    d *= state["H_diag"]
    for i in range(len(ro)):
        d += (alphas[i] - ro[i] * (ys[i] @ d)) * ss[i]
    return d


class _Point(NamedTuple):
    """What is known of a point on the line that is searched: the step's length, and loss, gradient and slope there."""

    t: float
    loss: float
    gradient: Array
    slope: float


def _strong_wolfe(
    at: Callable[[float], _Point], start: _Point, t: float, reach: float, tries: int
) -> tuple[_Point, int]:
    """Look for a step after which the loss has fallen enough and its slope is flat enough.

    Parameters
    ----------
    at
        Evaluates the loss after a step of a length.
    start
        The point at length 0.
    t
        The length to begin with.
    reach
        How far a step of length 1 moves a parameter at most.
    tries
        How many evaluations there may be after the first.

    Returns
    -------
    point, count
        The best point found, and how many evaluations that took.
    """
    previous, new, count = start, at(t), 0
    while count < tries:  # longer and longer steps, until there is such a point between the last two
        if _is_too_high(new, start) or (count > 1 and new.loss >= previous.loss):
            break
        if abs(new.slope) <= -C2 * start.slope:
            return new, count + 1
        if new.slope >= 0:
            break
        t = _lowest_between(previous, new, new.t + 0.01 * (new.t - previous.t), 10 * new.t)
        previous, new, count = new, at(t), count + 1
    else:
        previous = start
    return _zoom(at, start, [previous, new], reach, count, tries)


def _zoom(
    at: Callable[[float], _Point], start: _Point, ends: list[_Point], reach: float, count: int, tries: int
) -> tuple[_Point, int]:
    """Narrow the bracket between two points down to one that fulfils the conditions."""
    low = 0 if ends[0].loss <= ends[1].loss else 1  # which end is the better one
    stuck = False
    while count < tries:
        left, right = sorted(end.t for end in ends)
        if (right - left) * reach < LEAST_BRACKET:
            break
        t = _lowest_between(ends[0], ends[1], left, right)
        margin = 0.1 * (right - left)
        near_an_end = min(right - t, t - left) < margin
        if near_an_end and (stuck or not left < t < right):  # a second time: not that near
            t = right - margin if right - t < t - left else left + margin
            near_an_end = False
        stuck = near_an_end
        new, count = at(t), count + 1
        if _is_too_high(new, start) or new.loss >= ends[low].loss:
            ends[1 - low] = new
            low = 0 if ends[0].loss <= ends[1].loss else 1
            continue
        if abs(new.slope) <= -C2 * start.slope:
            return new, count + 1
        if new.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = new
    return ends[low], count + 1


def _is_too_high(point: _Point, start: _Point) -> bool:
    return point.loss > start.loss + C1 * point.t * start.slope


def _lowest_between(a: _Point, b: _Point, lowest: float, highest: float) -> float:
    """Return where the cubic through two points, with the slopes there, has its minimum; or the middle."""
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t) if a.t < b.t else 0.0
    square = d1 * d1 - a.slope * b.slope
    d2 = math.sqrt(max(square, 0.0))
    divisor = b.slope - a.slope + 2 * d2
    if square < 0 or divisor == 0:
        return (lowest + highest) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / divisor), lowest), highest)
