"""Optimisers: what turns gradients into better parameters. Names, formulas and defaults are PyTorch's."""

from tinygrad_bc.optim import averaging, lr_scheduler
from tinygrad_bc.optim.adagrad import Adagrad
from tinygrad_bc.optim.adam import Adam, AdamW
from tinygrad_bc.optim.averaging import AveragedParameters, ema, swa
from tinygrad_bc.optim.lbfgs import LBFGS
from tinygrad_bc.optim.optimizer import Optimizer
from tinygrad_bc.optim.rmsprop import RMSprop
from tinygrad_bc.optim.sgd import SGD

__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AveragedParameters",
    "Optimizer",
    "RMSprop",
    "averaging",
    "ema",
    "lr_scheduler",
    "swa",
]
