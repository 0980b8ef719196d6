"""What happened in a training, and in what surroundings."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.data import fingerprint
from tinygrad_bc.train.state import arrays_of, generators

if TYPE_CHECKING:
    import pandas as pd

    from tinygrad_bc.train.run import Run

__all__ = ["History"]


class History:
    """One row for every epoch, and what is needed to get the same numbers again.

    Attributes
    ----------
    rows : list of dict
        The numbers of every epoch, by the name of their column.
    info : dict
        Versions of ``tinygrad_bc``, ``numpy`` and ``python``; ``seeds``, of every generator that can be found
        (``model.dropout.generator``, ``data.generator`` ...); ``data``, ``validation`` and ``weights``: fingerprints of
        the arrays and of the weights before the first step.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.info: dict[str, Any] = {}

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a DataFrame, the epoch its index; `info` is in its ``attrs``."""
        import pandas as pd

        table = pd.DataFrame(self.rows, columns=None if self.rows else ["epoch"]).set_index("epoch")
        table.attrs.update(self.info)
        return table

    def __getitem__(self, column: str) -> np.ndarray[Any, Any]:
        """Return the numbers of one column."""
        return np.array([row[column] for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return self.table.to_string()

    def _repr_html_(self) -> str:
        html: str = self.table.to_html()
        return html

    def describe(self, run: Run) -> None:
        """Write down the surroundings of a run."""
        import tinygrad_bc

        random = generators(model=run.model, data=run.data, validation=run.validation, loss=run.loss)
        self.info = {
            "tinygrad_bc": tinygrad_bc.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "seeds": {path: seed_of(generator) for path, generator in random.items()},
            "data": _fingerprint(run.data),
            "validation": None if run.validation is None else _fingerprint(run.validation),
            "weights": fingerprint(*map(np.atleast_1d, run.model.state_dict().values())),
        }


def _fingerprint(data: Any) -> str | None:
    arrays = arrays_of(data)
    return None if arrays is None else fingerprint(*arrays)


def seed_of(generator: np.random.Generator) -> Any:
    """Return the seed that a generator was made with; None if it was made without one that can be told."""
    entropy = getattr(generator.bit_generator.seed_seq, "entropy", None)
    return list(entropy) if isinstance(entropy, tuple | list) else entropy
