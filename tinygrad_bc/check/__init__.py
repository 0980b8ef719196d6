"""Is this gradient right? Finite differences, and the comparison with formulas derived by hand."""

from tinygrad_bc.check.comparison import FormulaReport, FormulaRow, formulas
from tinygrad_bc.check.gradient import GradcheckReport, GradcheckRow, gradcheck

__all__ = ["FormulaReport", "FormulaRow", "GradcheckReport", "GradcheckRow", "formulas", "gradcheck"]
