"""What can be wrong with a training, said before it has changed anything."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.data import check_finite, check_lengths
from tinygrad_bc.errors import ArgumentError, DataError, GradientError, ShapeError
from tinygrad_bc.record import Value
from tinygrad_bc.train import state
from tinygrad_bc.train.evaluation import evaluate

if TYPE_CHECKING:
    from tinygrad_bc.train.callbacks import Callback
    from tinygrad_bc.train.run import Run


def callbacks(given: Iterable[Any]) -> list[Callback]:
    """Return the callbacks as a list, each of them an object with the methods of `Callback`."""
    from tinygrad_bc.train.callbacks import Callback

    found = list(given)
    for thing in found:
        if not isinstance(thing, Callback):
            hint = f": write {thing.__name__}(...)" if isinstance(thing, type) and issubclass(thing, Callback) else ""
            raise ArgumentError(f"fit: callbacks must be Callback objects, got {reprlib.repr(thing)}{hint}")
    return found


def before_training(run: Run) -> None:
    """Check the arguments and all data in memory, and try one batch out; leave everything as it was."""
    if isinstance(run.epochs, bool) or not isinstance(run.epochs, int) or run.epochs < 1:
        raise ArgumentError(f"fit: epochs is how often to go through the data, 1 or more; got {run.epochs!r}")
    if not hasattr(run.optimizer, "param_groups"):
        raise ArgumentError(
            f"fit: expected an optimizer, for example optim.SGD(model.parameters(), lr=0.1), got {run.optimizer!r}"
        )
    for name, data in (("data", run.data), ("validation", run.validation)):
        if data is not None:
            _data(name, data)
    with state.preserved(run.model, run.loss, [run.data, run.validation]):
        _rehearse(run)


def _data(name: str, data: Any) -> None:
    """Check what can be looked at without running a loader, which checks its arrays when it is made."""
    if isinstance(data, Iterator) or not isinstance(data, Iterable) or isinstance(data, np.ndarray):
        raise ArgumentError(
            f"fit: {name} must yield batches anew in every epoch: a DataLoader, a list of batches, or one batch, the "
            f"tuple (inputs, target); got {type(data).__name__}"
            + (", which is used up after one epoch" if isinstance(data, Iterator) else "")
        )
    batches = [data] if isinstance(data, tuple) else data if isinstance(data, list) else []
    for number, one in enumerate(batches):
        _batch(one, f"{name}, batch {number}")


def _rehearse(run: Run) -> None:
    """Run one batch forward and backward, without a step; and one of the validation forward."""
    *inputs, target = _first(run.data, "data")
    run.model.train()
    run.optimizer.zero_grad()
    value = run.loss(run.model(*inputs), target)
    loss(value, run)
    value.backward()
    _reached(run)
    if run.validation is not None:
        evaluate(run.model, [_first(run.validation, "validation")], run.loss)


def _reached(run: Run) -> None:
    """Check that every parameter of the optimiser has got a gradient."""
    names = {parameter: name for name, parameter in run.model.named_parameters()}
    trained = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    unused = [parameter for parameter in trained if parameter._grad is None and parameter._requires_grad]
    if unused and not run.allow_unused:
        titles = [names.get(p, f"{p.name or 'a tensor'} of shape {p.shape} (not in the model)") for p in unused]
        raise GradientError(
            f"fit: the loss does not depend on {', '.join(titles)}, so no step would change "
            f"{'it' if len(titles) == 1 else 'them'}. Is it used in forward, and not only its .data or .detach()? And "
            "was the optimizer given the parameters of this model? If it is meant, say fit(..., allow_unused=True)"
        )


def _first(data: Any, name: str) -> Sequence[Any]:
    """Return the first batch."""
    for first in state.batches_of(state.a_copy(data)):
        _batch(first, f"{name}, batch 0")
        return first
    raise DataError(f"fit: {name} yields no batch. Is the table empty, or shorter than batch_size with drop_last=True?")


def batch(given: Any, run: Run) -> None:
    """Check one batch of the training data."""
    _batch(given, f"epoch {run.epoch}, batch {run.batch}")


def _batch(given: Any, place: str) -> None:
    """Check that a batch is several arrays of equal length and finite numbers."""
    if not isinstance(given, Sequence) or len(given) < 2:
        got = f"{len(given)} array" if isinstance(given, Sequence) else type(given).__name__
        raise DataError(
            f"{place}: a batch is a tuple of arrays, inputs and last the target; got {got}. "
            "Where the input is the target too, pass it twice: (X, X)"
        )
    names = [f"{place}, array {i}" for i in range(len(given))]
    check_lengths(*given, names=names)
    for array, name in zip(given, names):
        check_finite(array, name)


def loss(value: Any, run: Run) -> None:
    """Check that a loss can be minimised: a tensor of one finite number, that was computed from parameters."""
    place = f"epoch {run.epoch}, batch {run.batch}"
    if not isinstance(value, Value):
        raise GradientError(
            f"{place}: the loss is {reprlib.repr(value)}, of type {type(value).__name__}, and has no history. It must "
            "be a tensor computed from the model's output by tg's operations, without .item() and .data"
        )
    if value._array.size != 1:
        raise ShapeError(
            f"{place}: the loss has shape {value.shape}, and only a single number can be minimised: reduce it, "
            "for example by .mean()"
        )
    if not np.isfinite(value._array).all():
        raise GradientError(
            f"{place}: the loss is {value._array.item()}; no step was taken from it. Is the learning rate too large? "
            "To see where it comes from, run that batch inside tg.detect_anomaly()"
        )
    if not value._requires_grad:
        raise GradientError(
            f"{place}: the loss does not depend on anything that requires a gradient. Are the parameters made with "
            "requires_grad=True, and used in forward, not their .data? Was it computed inside no_grad()?"
        )


def lr_columns(run: Run) -> list[str]:
    """Return what the learning rates are called in the history."""
    count = len(run.optimizer.param_groups)
    return ["lr"] if count == 1 else [f"lr_{group}" for group in range(count)]


def column(run: Run, name: str, who: str) -> None:
    """Check that the history of a run will have a column."""
    found = ["loss", *lr_columns(run), "seconds"]
    if run.validation is not None:
        found += ["validation_loss", *(f"validation_{metric}" for metric in run.metrics)]
    if name not in found:
        hint = ", or give fit validation=..." if name.startswith("validation_") and run.validation is None else ""
        raise ArgumentError(f"{who}: there is no column {name!r} to watch; choose among {', '.join(found)}{hint}")
