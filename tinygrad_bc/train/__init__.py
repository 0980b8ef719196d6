"""Training: the loop, what may be hung into it, checkpoints, and the search for a learning rate."""

from typing import TYPE_CHECKING, Any

from tinygrad_bc.train.callbacks import (
    Callback,
    ClipGradients,
    EarlyStopping,
    GradientStatistics,
    Progress,
    Schedule,
    l1_penalty,
)
from tinygrad_bc.train.checkpoint import Checkpoint, CheckpointError, CheckpointWarning
from tinygrad_bc.train.evaluation import evaluate
from tinygrad_bc.train.history import History
from tinygrad_bc.train.loop import fit
from tinygrad_bc.train.lr_find import RangeTest, lr_find
from tinygrad_bc.train.run import Run

__all__ = [
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "CheckpointWarning",
    "ClipGradients",
    "EarlyStopping",
    "GradientStatistics",
    "History",
    "Progress",
    "RangeTest",
    "Run",
    "Schedule",
    "TrainedClassifier",
    "evaluate",
    "fit",
    "l1_penalty",
    "lr_find",
]

if TYPE_CHECKING:
    from tinygrad_bc.train.estimator import TrainedClassifier
else:  # which needs scikit-learn

    def __getattr__(name: str) -> Any:
        if name != "TrainedClassifier":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tinygrad_bc.train.estimator import TrainedClassifier

        return TrainedClassifier
