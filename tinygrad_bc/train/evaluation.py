"""How good a model is on data that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.autograd import no_grad
from tinygrad_bc.errors import DataError
from tinygrad_bc.nn import Module
from tinygrad_bc.tensor import Tensor
from tinygrad_bc.train.state import batches_of

__all__ = ["evaluate"]


def evaluate(
    model: Module,
    data: Iterable[Sequence[Any]] | tuple[Any, ...],
    loss: Callable[..., Any],
    metrics: Mapping[str, Callable[..., float]] | None = None,
) -> dict[str, float]:
    """Return the mean loss over all rows of `data`, in evaluation mode, and the metrics; see `fit`.

    Raises
    ------
    DataError
        If there is no batch.
    """
    model.eval()
    losses, outputs, targets = [], [], []
    with no_grad():
        for *inputs, target in batches_of(data):
            output = model(*inputs)
            losses.append((float(loss(output, target)), len(target)))
            if metrics:
                outputs.append(output.numpy() if isinstance(output, Tensor) else output)
                targets.append(target)
    if not losses:
        raise DataError("evaluate: the data yield no batch. Is the table empty?")
    results = {"loss": sum(value * n for value, n in losses) / sum(n for _, n in losses)}
    for name, metric in (metrics or {}).items():
        results[name] = float(metric(np.concatenate(outputs), np.concatenate(targets)))
    return results
