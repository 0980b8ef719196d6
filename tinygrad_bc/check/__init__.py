"""Is this gradient right? And if it is not, which operation is wrong, and why."""

from tinygrad_bc.check.comparison import FormulaReport, FormulaRow, formulas
from tinygrad_bc.check.gradient import assert_gradients, gradcheck, gradients
from tinygrad_bc.check.properties import PropertyReport, PropertyRow, operation
from tinygrad_bc.check.report import GradientReport

__all__ = [
    "FormulaReport",
    "FormulaRow",
    "GradientReport",
    "PropertyReport",
    "PropertyRow",
    "assert_gradients",
    "formulas",
    "gradcheck",
    "gradients",
    "operation",
]
