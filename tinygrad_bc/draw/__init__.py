"""Pictures: a computation as a graph, and charts of data and results.

The packages that draw are imported when something is drawn, not before.
"""

from tinygrad_bc.draw.directions import Directions
from tinygrad_bc.draw.drawing import Drawing, graph
from tinygrad_bc.draw.landscape import Landscape, Trajectory, compare_landscapes
from tinygrad_bc.draw.metrics import (
    calibration_curves,
    precision_recall_curves,
    roc_curves,
    threshold_sweep,
    training_curves,
)
from tinygrad_bc.draw.plots import confusion_matrices, feature_bars, feature_histograms, loss_curve, save_figure

__all__ = [
    "Directions",
    "Drawing",
    "Landscape",
    "Trajectory",
    "calibration_curves",
    "compare_landscapes",
    "confusion_matrices",
    "feature_bars",
    "feature_histograms",
    "graph",
    "loss_curve",
    "precision_recall_curves",
    "roc_curves",
    "save_figure",
    "threshold_sweep",
    "training_curves",
]
