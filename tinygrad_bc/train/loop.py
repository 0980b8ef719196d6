"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_bc.nn import Module
from tinygrad_bc.train import checks
from tinygrad_bc.train.evaluation import evaluate
from tinygrad_bc.train.run import Run
from tinygrad_bc.train.state import batches_of

if TYPE_CHECKING:
    from tinygrad_bc.train.callbacks import Callback
    from tinygrad_bc.train.history import History

__all__ = ["fit", "step"]


def fit(
    model: Module,
    data: Iterable[Sequence[Any]] | tuple[Any, ...],
    loss: Callable[..., Any],
    optimizer: Any,
    *,
    epochs: int,
    validation: Iterable[Sequence[Any]] | tuple[Any, ...] | None = None,
    metrics: Mapping[str, Callable[..., float]] | None = None,
    callbacks: Iterable[Callback] = (),
    allow_unused: bool = False,
) -> History:
    """Train a model: for every batch, compute the loss, its gradients, and take a step of the optimiser.

    There is nothing in it that you could not write yourself, and the weights come out the same to the last bit::

        for epoch in range(epochs):
            model.train()
            for *inputs, target in data:
                optimizer.zero_grad()
                value = loss(model(*inputs), target)
                value.backward()
                optimizer.step()
            model.eval()
            print(epoch, evaluate(model, validation, loss))

    Before it starts, one batch is tried out, and then everything (weights, gradients, buffers of the model, states of
    generators and of the loader) is put back: what is wrong with the arguments is said before anything is changed.

    Parameters
    ----------
    model : Module
        Called with all arrays of a batch but the last. It is left in evaluation mode.
    data : DataLoader, or sequence of batches, or tuple of arrays
        What yields batches, anew in every epoch. A batch is a tuple of arrays of the same number of rows: inputs,
        and last the target. A tuple of arrays is one batch: all of the data.
    loss : callable
        ``loss(prediction, target)``, a tensor of one element: the mean over the rows of the batch.
    optimizer : Optimizer
        Of the parameters of the model.
    epochs : int
        How many times to go through the data; at least 1.
    validation : as `data`, optional
        What the loss is also computed on at the end of every epoch, in evaluation mode.
    metrics : mapping of str to callable, optional
        More numbers to compute on the validation data: ``metric(prediction, target)`` of arrays of all their rows.
    callbacks : iterable of Callback
        What else is to happen: `EarlyStopping`, `Schedule`, `Checkpoint`, `Progress` ... A checkpoint is written
        after the others have done their part.
    allow_unused : bool
        Whether the optimiser may have parameters that the loss does not depend on.

    Returns
    -------
    History
        ``history.table``: one row per epoch, with ``loss`` (the mean over the epoch's rows, each at the weights that
        its batch met), ``validation_loss``, ``validation_<metric>``, ``lr`` (of the last step; of several groups of
        parameters ``lr_0``, ``lr_1`` ...) and ``seconds`` (if the epoch was resumed, since then).

    Raises
    ------
    DataError
        If there is no batch, or in a batch the numbers of rows differ or a number is not finite.
    ShapeError, GradientError, ArgumentError
        If the loss is not a tensor of one element, is not finite or does not depend on a parameter; or if an argument
        is none of the possible ones. A loss that stops being finite later ends the training before that step.
    """
    callbacks = sorted(checks.callbacks(callbacks), key=lambda callback: callback.last)
    run = Run(
        model=model, data=data, loss=loss, optimizer=optimizer, epochs=epochs, validation=validation,
        metrics=metrics or {}, callbacks=callbacks, allow_unused=allow_unused,
    )  # fmt: skip
    checks.before_training(run)
    run.history.describe(run)
    try:
        run.tell("on_train_begin")
        while run.epoch < epochs and not run.stopped:
            _epoch(run)
    finally:
        run.tell("on_train_end")
        model.eval()
    return run.history


def _epoch(run: Run) -> None:
    """Go through the data once, or through the rest of it if some batches were done before."""
    started = time.perf_counter()
    run.model.train()
    run.tell("on_epoch_begin")
    for batch in batches_of(run.data, skip=run.batch):
        run.batch_loss = step(run, batch)
        run.batch += 1
        run.rows += len(batch[-1])
        run.total += run.batch_loss * len(batch[-1])
        run.tell("on_batch_end")
    row = {"epoch": run.epoch, "loss": run.total / run.rows}
    if run.validation is not None:
        results = evaluate(run.model, run.validation, run.loss, run.metrics)
        row |= {f"validation_{name}": value for name, value in results.items()}
    row |= dict(zip(checks.lr_columns(run), run.lr)) | {"seconds": time.perf_counter() - started}
    run.history.rows.append(row)
    run.epoch, run.batch, run.rows, run.total = run.epoch + 1, 0, 0, 0.0
    run.tell("on_epoch_end")


def step(run: Run, batch: Sequence[Any]) -> float:
    """Take one step of the optimiser, and return the loss before it."""
    checks.batch(batch, run)
    *inputs, target = batch

    def closure() -> Any:  # LBFGS calls it several times
        run.optimizer.zero_grad()
        value = run.loss(run.model(*inputs), target)
        checks.loss(value, run)
        value.backward()
        run.tell("on_backward_end")
        return value

    run.lr = [group["lr"] for group in run.optimizer.param_groups]
    return float(run.optimizer.step(closure))
