"""Loss functions as modules: each calls the operation of the same name, whose docstring has formula and errors."""

from __future__ import annotations

from typing import Any

from tinygrad_bc import ops
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.nn.module import Module

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
]


class _Loss(Module):
    """What losses have in common: what becomes of the losses of the elements, and weights, which are buffers."""

    def __init__(self, *, reduction: str = "mean", **arrays: Any) -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ArgumentError(f"{type(self).__name__}: reduction={reduction!r}, but expected 'mean', 'sum' or 'none'")
        self.reduction = reduction
        for name, array in arrays.items():
            if array is None:
                setattr(self, name, None)
            else:
                self.register_buffer(name, array)

    def extra_repr(self) -> str:
        """Return the settings that are numbers and words."""
        own = {name: x for name, x in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={x!r}" for name, x in own.items() if isinstance(x, str | float | int))


class MSELoss(_Loss):
    """Squared error, the mean of ``(input - target)²``, for predictions and targets of one shape.

    Source: A.-M. Legendre, "Nouvelles méthodes pour la détermination des orbites des comètes", 1805, appendix.
    """

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """Absolute error, the mean of ``|input - target|``, for predictions and targets of one shape.

    Source: P.-S. Laplace, "Mémoire sur la probabilité des causes par les évènemens", 1774.
    """

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """``½e² / beta`` for errors below `beta`, ``|e| - ½beta`` beyond.

    Source: R. Girshick, "Fast R-CNN", 2015, eq. 3.
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """``½e²`` for errors below `delta`, ``delta (|e| - ½delta)`` beyond.

    Source: P. J. Huber, "Robust estimation of a location parameter", 1964.
    """

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class BCELoss(_Loss):
    """Cross-entropy of two classes for probabilities; `BCEWithLogitsLoss` is exact where this one must be cut off.

    Source: C. M. Bishop, "Pattern recognition and machine learning", 2006, eq. 4.90.
    """

    weight: Any

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction, weight=weight)

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Cross-entropy of two classes for scores before the sigmoid. `pos_weight` is a factor for class 1.

    Source: C. M. Bishop, "Pattern recognition and machine learning", 2006, eq. 4.90 with 4.59.
    """

    weight: Any
    pos_weight: Any

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction=reduction, weight=weight, pos_weight=pos_weight)

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class NLLLoss(_Loss):
    """Negative log-likelihood, for log-probabilities of classes: those of the targets, with a minus sign.

    Source: C. M. Bishop, "Pattern recognition and machine learning", 2006, eq. 4.108.
    """

    weight: Any

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction, weight=weight)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(_Loss):
    """Cross-entropy of many classes, for scores before the softmax.

    Source: C. M. Bishop, "Pattern recognition and machine learning", 2006, eq. 4.108; `label_smoothing`: C. Szegedy
    and others, "Rethinking the Inception architecture for computer vision", 2016, sec. 7.
    """

    weight: Any

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction=reduction, weight=weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Return the loss, a single number unless ``reduction="none"``."""
        return ops.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
