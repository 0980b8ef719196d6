"""Batches: which rows of the data go through the network together, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from reprlib import repr as short_repr
from typing import Any, Protocol

import numpy as np

from tinygrad_bc.data.validation import as_array, check_finite, check_lengths, is_mapped
from tinygrad_bc.diagnosis import describe
from tinygrad_bc.errors import ArgumentError, DataError, IndexingError
from tinygrad_bc.generators import as_generator
from tinygrad_bc.record import Array

__all__ = ["Augmentation", "Batch", "DataLoader", "Dataset", "TensorDataset"]

Batch = tuple[Array, ...]
Augmentation = Callable[[Batch, np.random.Generator], Batch]


class Dataset(Protocol):
    """Rows that can be counted and picked: what a `DataLoader` needs, and a class of your own may be."""

    def __len__(self) -> int:
        """Return the number n of rows."""
        ...

    def __getitem__(self, rows: Array, /) -> Batch:
        """Return the rows with the numbers `rows`, integers of shape (b,): arrays of b rows each."""
        ...


class TensorDataset:
    """Arrays of equally many rows, picked together, as `torch.utils.data.TensorDataset` does.

    Parameters
    ----------
    *arrays : array_like, DataFrame, Series or Tensor, each of shape (n, ...)
        Row i of each belongs to sample i. Nothing is copied: an array changed later changes the samples. A
        memory-mapped array (``np.load(path, mmap_mode="r")``, ``np.memmap``) stays in its file, and of it only the
        rows that are picked are read.

    Attributes
    ----------
    arrays : tuple of ndarray

    Raises
    ------
    DataError
        If there are no rows, their numbers differ, or a cell is NaN or infinite. A memory-mapped array is not read to
        find that out: there the rows are checked as they are picked.
    DTypeError
        If there is anything but numbers.
    """

    def __init__(self, *arrays: Any) -> None:
        names = [f"array {i + 1}" for i in range(len(arrays))]
        self.arrays = tuple(as_array(data, name) for data, name in zip(arrays, names))
        self._length = check_lengths(*arrays, names=names)
        self._titles = [describe(data, name) for data, name in zip(arrays, names)]
        self._mapped = [is_mapped(array) for array in self.arrays]
        for data, name, mapped in zip(arrays, names, self._mapped):
            if not mapped:
                check_finite(data, name)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: Any, /) -> Batch:
        """Return copies of the rows with these numbers, an integer array, of every array.

        Raises
        ------
        IndexingError
            If there is no such row, or `rows` are no integers.
        DataError
            If a row of a memory-mapped array holds NaN or infinity.
        """
        rows = np.asarray(rows)
        if rows.dtype.kind not in "iu":
            raise IndexingError(f"expected the numbers of rows, an array of integers, got {short_repr(rows)}")
        try:
            batch = tuple(np.array(array[rows]) if rows.ndim == 0 else array[rows] for array in self.arrays)
        except IndexError as error:
            raise IndexingError(f"rows of {', '.join(self._titles)}: {error}") from None
        for values, title, mapped in zip(batch, self._titles, self._mapped):
            if mapped:
                check_finite(np.atleast_1d(values), title, np.atleast_1d(rows))
        return batch


class DataLoader:
    """Batches of rows, an epoch for each ``for`` loop; as `torch.utils.data.DataLoader`, and it can be saved.

    Parameters
    ----------
    *data : Dataset, or arrays
        A `Dataset`, or what a `TensorDataset` is made of: arrays, tables, memory-mapped arrays.
    batch_size : int
        Rows in a batch; in the last one of an epoch, those that are left.
    shuffle : bool
        Whether each epoch has an order of its own, every order being equally likely (Robbins and Monro, "A stochastic
        approximation method", 1951, want independent draws; without replacement, as here, converges faster:
        Gürbüzbalaban, Ozdaglar and Parrilo, "Why random reshuffling beats stochastic gradient descent", 2021).
    generator : numpy.random.Generator or int
        Where the orders, and the augmentations' random numbers, come from. Needed for them, and only for them.
    drop_last : bool
        Whether a last batch of fewer rows is left out.
    augment : sequence of callables, optional
        Applied to each batch in turn: ``augmentation(batch, generator) -> batch``, see `tinygrad_bc.data.augmentation`.

    Raises
    ------
    ArgumentError
        If `batch_size` is not positive, or a generator is missing.
    DataError
        If there would be no batch at all; and what a `TensorDataset` refuses.

    Notes
    -----
    `state_dict`, taken when the k-th batch of an epoch has been handed out, is the whole of the position: a loader
    made in the same way, given that state, goes on with batch k + 1 in its first ``for`` loop, bit by bit as this one
    would have. If k was the last, that loop is empty, as is what remains of that epoch. An epoch left by ``break`` is
    over, unless a state is loaded: the next loop starts a new one.

    Examples
    --------
    >>> loader = DataLoader(np.arange(5.0), batch_size=2, shuffle=True, generator=0)
    >>> len(loader), [batch.tolist() for (batch,) in loader]
    (3, [[2.0, 4.0], [3.0, 0.0], [1.0]])
    """

    def __init__(
        self,
        *data: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        generator: np.random.Generator | int | None = None,
        drop_last: bool = False,
        augment: Sequence[Augmentation] = (),
    ) -> None:
        if len(data) > 1 and isinstance(data[-1], int):
            raise ArgumentError(f"DataLoader takes arrays by position; did you mean batch_size={data[-1]}?")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ArgumentError(f"batch_size={batch_size!r}: expected a whole number of rows, at least 1")
        self.dataset: Dataset = data[0] if len(data) == 1 and _is_dataset(data[0]) else TensorDataset(*data)
        self.batch_size, self.shuffle, self.drop_last = int(batch_size), bool(shuffle), bool(drop_last)
        self.augment = tuple(augment)
        self.generator = as_generator(generator, "a loader that shuffles or augments") if shuffle or augment else None
        self._position = 0  # how many batches of the epoch have been handed out
        self._order: Any = None  # the generator's state that the epoch's order was drawn in
        self._loaded = False  # whether the next loop goes on in the middle of an epoch
        if not len(self):
            rows = len(self.dataset)
            fix = f"pass batch_size={rows} or less, or drop_last=False" if rows else "check how they were selected"
            raise DataError(f"the loader is empty: {rows} rows make no batch of {batch_size}; {fix}")

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """Go through an epoch: the rest of one whose state has been loaded, or else a new one."""
        order = self._draw_order()
        for k in range(self._position, len(self)):
            batch = self._batch(order[k * self.batch_size : (k + 1) * self.batch_size])
            self._position = k + 1  # before the batch is handed out, so that a state taken then names the next one
            yield batch
        self._position = 0

    def _draw_order(self) -> Array:
        loaded, self._loaded = self._loaded, False
        if not loaded:
            self._position = 0
            self._order = _state(self.generator)
        if not self.shuffle or self.generator is None:
            return np.arange(len(self.dataset))
        now = self.generator.bit_generator.state
        self.generator.bit_generator.state = self._order
        order = self.generator.permutation(len(self.dataset))
        if loaded:
            self.generator.bit_generator.state = now
        return order

    def _batch(self, rows: Array) -> Batch:
        picked: Any = self.dataset[rows]
        batch: Batch = picked if isinstance(picked, tuple) else (picked,)
        for i, values in enumerate(batch):
            if len(values) != len(rows):
                raise DataError(
                    f"{type(self.dataset).__name__}[rows] returned {describe(values, f'array {i + 1}')} for "
                    f"{len(rows)} rows; expected arrays with a row for each"
                )
        for augmentation in self.augment:
            batch = augmentation(batch, self.generator)  # type: ignore[arg-type]  # there is one if there are any
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is: the generator's states and the position in the epoch; fit for JSON."""
        return {
            "position": self._position,
            "order": self._order if self._position else None,
            "generator": _state(self.generator),
            **self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        """Return what must be the same for a position to mean the same."""
        return {
            "rows": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where another loader was when `state` was taken.

        Raises
        ------
        DataError
            If that one was made in another way, or `state` is not one of a loader. Nothing is changed then.
        """
        settings = self._settings()
        wanted = {"position", "order", "generator", *settings}
        if state.keys() != wanted:
            missing, unknown = sorted(wanted - state.keys()), sorted(map(str, state.keys() - wanted))
            raise DataError(f"this is no state of a DataLoader: missing are {missing}, unknown are {unknown}")
        for name, value in settings.items():
            if state[name] != value:
                raise DataError(
                    f"it is a state with {name}={state[name]!r}, and this one has {name}={value!r}; "
                    "make the loader, and choose its rows, as in the run that is continued"
                )
        position = state["position"]
        if not isinstance(position, int) or not 0 <= position <= len(self):
            raise DataError(f"the state is at batch {position!r} of an epoch of {len(self)}; it may be damaged")
        self._load_generator(state)
        self._position, self._order, self._loaded = position, state["order"], position > 0

    def _load_generator(self, state: Mapping[str, Any]) -> None:
        expected = _state(self.generator)
        for key in ("generator", "order") if state["position"] else ("generator",):
            if _kind(state[key]) != _kind(expected):
                raise DataError(
                    f"the state's {key} is of {_kind(state[key])}, and this loader's of {_kind(expected)}; "
                    "make the loader with the same kind of generator, and augment or not as in that run"
                )
        if self.generator is None:
            return
        try:
            trial = type(self.generator.bit_generator)()
            if state["position"]:
                trial.state = state["order"]
            trial.state = state["generator"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"the state's generator cannot be restored ({error!r}); it may be damaged") from None
        self.generator.bit_generator.state = state["generator"]


def _is_dataset(data: Any) -> bool:
    """Return whether `data` picks rows itself, and is not an array, a table or a list."""
    return not (isinstance(data, list | tuple) or hasattr(data, "__array__") or hasattr(data, "to_numpy")) and (
        hasattr(data, "__getitem__")
    )


def _state(generator: np.random.Generator | None) -> Any:
    """Return the generator's state as numbers, text and lists."""
    return None if generator is None else _plain(generator.bit_generator.state)


def _plain(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


def _kind(state: Any) -> str:
    return str(state.get("bit_generator")) if isinstance(state, Mapping) else "no generator"
