"""What is known of a training while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinygrad_bc.nn import Module
from tinygrad_bc.train.history import History

if TYPE_CHECKING:
    from tinygrad_bc.train.callbacks import Callback

__all__ = ["Run"]


@dataclass(eq=False, kw_only=True)
class Run:
    """A training under way: what every callback is given, to read and to change.

    Attributes
    ----------
    model, data, loss, optimizer, epochs, validation, metrics, allow_unused
        What `fit` was given.
    callbacks : list of Callback
        In the order in which they are called.
    history : History
        One row for every epoch that has ended.
    epoch, batch : int
        How many epochs have ended, and how many batches of the epoch that has not.
    total, rows : float, int
        The losses of these batches, each times its number of rows, added up; and the number of their rows.
    batch_loss : float
        The loss of the last batch.
    lr : list of float
        The learning rates, one for each group of parameters, of the last step.
    stopped : str
        Why training ends with this epoch, though fewer than `epochs` have ended; '' if it does not. A callback sets it.
    """

    model: Module
    data: Any
    loss: Callable[..., Any]
    optimizer: Any
    epochs: int
    validation: Any = None
    metrics: Mapping[str, Callable[..., float]] = field(default_factory=dict)
    callbacks: Sequence[Callback] = ()
    allow_unused: bool = False
    history: History = field(default_factory=History)
    epoch: int = 0
    batch: int = 0
    total: float = 0.0
    rows: int = 0
    batch_loss: float = float("nan")
    lr: list[float] = field(default_factory=list)
    stopped: str = ""

    def tell(self, event: str) -> None:
        """Call the method `event` of every callback."""
        for callback in self.callbacks:
            getattr(callback, event)(self)
