"""Schedules of the learning rate. Each is a function of the step: `lr_at` computes it, and `step` only counts.

So a schedule can be plotted before training, and continued from any step. Names, arguments and values are PyTorch's.
`ReduceLROnPlateau` is the exception: what it does depends on the losses it is told.
"""

from tinygrad_bc.optim.lr_scheduler.combinations import ChainedScheduler, SequentialLR
from tinygrad_bc.optim.lr_scheduler.decays import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    InverseTimeLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from tinygrad_bc.optim.lr_scheduler.one_cycle import OneCycleLR
from tinygrad_bc.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_bc.optim.lr_scheduler.schedule import LRScheduler

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "InverseTimeLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
