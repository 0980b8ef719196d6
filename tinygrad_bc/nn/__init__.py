"""Building models: parameters gathered under one name, layers, losses, and the functions that they are made of."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinygrad_bc.nn import functional, init, utils
from tinygrad_bc.nn.activation import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinygrad_bc.nn.containers import ModuleList, Sequential
from tinygrad_bc.nn.convolution import AvgPool1d, AvgPool2d, Conv1d, Conv2d, Flatten, MaxPool1d, MaxPool2d
from tinygrad_bc.nn.dropout import Dropout
from tinygrad_bc.nn.embedding import Embedding
from tinygrad_bc.nn.linear import Linear
from tinygrad_bc.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from tinygrad_bc.nn.module import Module
from tinygrad_bc.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm

if TYPE_CHECKING:
    from tinygrad_bc.nn.reporting import Report as Report
    from tinygrad_bc.nn.reporting import report as report

__all__ = [
    "ELU",
    "GELU",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "NLLLoss",
    "ReLU",
    "Report",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "init",
    "report",
    "utils",
]


if not TYPE_CHECKING:  # a table is pandas', which takes longer to import than all the rest

    def __getattr__(name: str) -> Any:
        if name not in ("Report", "report"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        return globals().setdefault(name, getattr(import_module("tinygrad_bc.nn.reporting"), name))
