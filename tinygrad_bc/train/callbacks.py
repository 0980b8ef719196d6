"""What can be hung into the loop. Each is a few lines: write your own in the same way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tinygrad_bc.errors import ArgumentError, MissingDependencyError
from tinygrad_bc.nn.utils import clip_grad_norm_
from tinygrad_bc.train import checks

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from tinygrad_bc.tensor import Tensor
    from tinygrad_bc.train.run import Run

__all__ = [
    "Callback",
    "ClipGradients",
    "EarlyStopping",
    "GradientStatistics",
    "Progress",
    "Schedule",
    "l1_penalty",
]


class Callback:
    """What is called at certain moments of a training; here, nothing happens at any of them.

    Attributes
    ----------
    last : bool
        Whether it is called after those without this mark, for it needs what they have done.

    Examples
    --------
    >>> class Shout(Callback):
    ...     def on_epoch_end(self, run):
    ...         print(f"{run.history.rows[-1]['loss']:.3f}!")
    """

    last: ClassVar[bool] = False

    def on_train_begin(self, run: Run) -> None:
        """Be called once, before the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Be called before the first batch of an epoch, or before the first of a resumed one."""

    def on_backward_end(self, run: Run) -> None:
        """Be called when the gradients are there and the step has not been taken."""

    def on_batch_end(self, run: Run) -> None:
        """Be called after every step of the optimiser."""

    def on_epoch_end(self, run: Run) -> None:
        """Be called after every epoch, when its row is in ``run.history``."""

    def on_train_end(self, run: Run) -> None:
        """Be called once at the end, also if that is an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training has to know: numbers, texts, arrays, in dictionaries and lists."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""


class Schedule(Callback):
    """Advance a learning-rate schedule after every epoch, or after every batch.

    Parameters
    ----------
    scheduler : LRScheduler
        One of `tinygrad_bc.optim.lr_scheduler`, of the same optimiser.
    per : {'epoch', 'batch'}
        What its step is.
    monitor : str, optional
        The column of the history that is handed to ``scheduler.step``, for `ReduceLROnPlateau`.

    Raises
    ------
    ArgumentError
        If `per` is neither; at the start of training, if there is no column `monitor`.
    """

    def __init__(self, scheduler: Any, per: Literal["epoch", "batch"] = "epoch", monitor: str | None = None) -> None:
        if per not in ("epoch", "batch"):
            raise ArgumentError(f"Schedule: per is 'epoch' or 'batch', got {per!r}")
        if monitor is not None and per == "batch":
            raise ArgumentError(f"Schedule: {monitor!r} is known at the end of an epoch; use per='epoch'")
        self.scheduler = scheduler
        self.per = per
        self.monitor = monitor

    def on_train_begin(self, run: Run) -> None:
        """Check that what is watched will be there."""
        if self.monitor is not None:
            checks.column(run, self.monitor, "Schedule")

    def on_batch_end(self, run: Run) -> None:  # noqa: ARG002
        """Step, if that is per batch."""
        if self.per == "batch":
            self.scheduler.step()

    def on_epoch_end(self, run: Run) -> None:
        """Step, if that is per epoch."""
        if self.per == "epoch":
            self.scheduler.step(*([] if self.monitor is None else [run.history.rows[-1][self.monitor]]))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule."""
        state: dict[str, Any] = self.scheduler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.scheduler.load_state_dict(state)


class EarlyStopping(Callback):
    """Stop when a number has not improved for some epochs, and go back to the weights of the best epoch.

    Prechelt (1998), "Early Stopping — But When?": the third class of stopping criteria, UP, counted in epochs without
    improvement.

    Parameters
    ----------
    monitor : str
        The column of the history that is watched.
    patience : int
        After how many epochs in a row without an improvement to stop; at least 1.
    min_delta : float
        What is no larger than this is no improvement.
    mode : {'min', 'max'}
        Whether smaller is better, or larger.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int or None
        The epoch it is of. At the end of training the model has its weights and buffers again, bit for bit.

    Raises
    ------
    ArgumentError
        If a parameter has a value that is not possible; at the start of training, if there is no column `monitor`.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        if patience < 1 or not min_delta >= 0 or mode not in ("min", "max"):
            raise ArgumentError(
                "EarlyStopping: patience is 1 or more, min_delta 0 or more, and mode 'min' or 'max'; got "
                f"patience={patience}, min_delta={min_delta}, mode={mode!r}"
            )
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.best_weights: dict[str, Any] | None = None

    def on_train_begin(self, run: Run) -> None:
        """Forget what an earlier training left."""
        checks.column(run, self.monitor, "EarlyStopping")
        self.best = self.best_epoch = self.best_weights = None

    def on_epoch_end(self, run: Run) -> None:
        """Keep the weights if they are the best so far, or else see whether it is time to stop."""
        value, epoch = run.history.rows[-1][self.monitor], run.history.rows[-1]["epoch"]
        if self._improves(value):
            self.best, self.best_epoch, self.best_weights = value, epoch, run.model.state_dict()
        elif epoch - (-1 if self.best_epoch is None else self.best_epoch) >= self.patience:
            run.stopped = f"{self.monitor} has not improved on {self.best} of epoch {self.best_epoch}"

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        return self.min_delta < (self.best - value if self.mode == "min" else value - self.best)

    def on_train_end(self, run: Run) -> None:
        """Go back to the best weights."""
        if self.best_weights is not None:
            run.model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch and its weights."""
        return {"best": self.best, "best_epoch": self.best_epoch, "best_weights": self.best_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.best, self.best_epoch, self.best_weights = state["best"], state["best_epoch"], state["best_weights"]


class GradientStatistics(Callback):
    """The Euclidean norm of every parameter's gradient, over the batches of every epoch.

    Norms that shrink from the last layer to the first by orders of magnitude are vanishing gradients; see Glorot and
    Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks", figure 7.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._norms: dict[str, list[float]] = {}

    @property
    def table(self) -> pd.DataFrame:
        """One row per epoch and parameter: mean, smallest and largest norm."""
        import pandas as pd

        columns = ["epoch", "parameter", "mean", "min", "max"]
        return pd.DataFrame(self.rows, columns=columns).set_index(["epoch", "parameter"])

    def on_train_begin(self, run: Run) -> None:  # noqa: ARG002
        """Forget what an earlier training left."""
        self.rows, self._norms = [], {}

    def on_backward_end(self, run: Run) -> None:
        """Measure every gradient."""
        for name, parameter in run.model.named_parameters():
            if parameter._grad is not None:
                norm = float(np.linalg.norm(parameter._grad._array))
                self._norms.setdefault(name, []).append(norm)

    def on_epoch_end(self, run: Run) -> None:
        """Summarise the epoch."""
        epoch = run.history.rows[-1]["epoch"]
        for name, norms in self._norms.items():
            summary = {"mean": sum(norms) / len(norms), "min": min(norms), "max": max(norms)}
            self.rows.append({"epoch": epoch, "parameter": name, **summary})
        self._norms = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, and the norms of the epoch that has not ended."""
        return {"rows": list(self.rows), "norms": {name: list(norms) for name, norms in self._norms.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.rows, self._norms = state["rows"], state["norms"]


class ClipGradients(Callback):
    """Before every step, scale all gradients down together if their common norm is larger than `max_norm`.

    Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks", algorithm 1. The
    work is done by `tinygrad_bc.nn.utils.clip_grad_norm_`.
    """

    def __init__(self, max_norm: float) -> None:
        if not max_norm > 0:
            raise ArgumentError(f"ClipGradients: max_norm must be above 0, got {max_norm}")
        self.max_norm = max_norm

    def on_backward_end(self, run: Run) -> None:
        """Clip."""
        clip_grad_norm_(run.model.parameters(), self.max_norm)


class Progress(Callback):
    """A bar in the terminal with the epoch, the losses and the time that is left, drawn by rich.

    Raises
    ------
    MissingDependencyError
        If rich is not installed.
    """

    def __init__(self) -> None:
        try:
            from rich import progress
        except ImportError as error:
            raise MissingDependencyError('Progress needs rich: pip install "tinygrad_bc[train]"') from error
        self._bar: Any = None
        self._columns = [
            progress.TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            progress.BarColumn(),
            progress.TextColumn("{task.description}"),
            progress.TimeRemainingColumn(),
        ]

    def on_train_begin(self, run: Run) -> None:
        """Show the bar."""
        from rich.progress import Progress as Bar

        self._bar = Bar(*self._columns)
        self._bar.start()
        self._task = self._bar.add_task("", total=run.epochs)
        self._shown = ""

    def on_batch_end(self, run: Run) -> None:
        """Move the bar by one batch."""
        batches = len(run.data) if hasattr(run.data, "__len__") and not isinstance(run.data, tuple) else 1
        text = f"loss {run.total / run.rows:.4g}  {self._shown}"
        self._bar.update(self._task, completed=run.epoch + run.batch / batches, description=text)

    def on_epoch_end(self, run: Run) -> None:
        """Show the numbers of the epoch."""
        row = run.history.rows[-1]
        numbers = [f"{name} {row[name]:.4g}" for name in row if name.startswith("validation_")]
        self._shown = "  ".join(numbers)
        self._bar.update(self._task, completed=run.epoch, description=f"loss {row['loss']:.4g}  {self._shown}")

    def on_train_end(self, run: Run) -> None:
        """Leave the bar as it is, and say why training ended early."""
        if self._bar is not None:
            self._bar.stop()
        if self._bar is not None and run.stopped:
            self._bar.console.print(f"stopped after epoch {run.epoch - 1}: {run.stopped}")


def l1_penalty(parameters: Iterable[Tensor], strength: float) -> Tensor:
    """Return ``strength · Σ |w|``, to be added to a loss: it draws weights to 0, and leaves many of them there.

    Tibshirani (1996), "Regression Shrinkage and Selection via the Lasso"; at w = 0 its derivative is taken to be 0. For
    the square in the place of the absolute value, L2, give the optimiser a ``weight_decay``.

    Parameters
    ----------
    parameters : iterable of Tensor
        Usually the weights without the biases.
    strength : float
        0 or more.

    Raises
    ------
    ArgumentError
        If `strength` is negative, or there is no parameter.

    Examples
    --------
    ::

        def loss(prediction, target):
            return tg.mse_loss(prediction, target) + l1_penalty([model.W], 1e-3)
    """
    terms = [abs(parameter).sum() for parameter in parameters]
    if not strength >= 0 or not terms:
        raise ArgumentError(f"l1_penalty: {len(terms)} parameters of strength {strength}; it takes 1 and 0, or more")
    return strength * sum(terms[1:], start=terms[0])
