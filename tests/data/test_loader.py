import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc.data import DataLoader, TensorDataset
from tinygrad_bc.data.augmentation import GaussianNoise
from tinygrad_bc.errors import ArgumentError, DataError, DTypeError, GradientError, IndexingError

BIT_GENERATORS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32)


def flat(batches):
    return [row for batch in batches for row in batch]


def rows_of(loader):
    return [batch[0].tolist() for batch in loader]


def loader_of(n, batch_size, seed, **options):
    return DataLoader(np.arange(n, dtype=float), batch_size=batch_size, generator=seed, **options)


# --- an epoch ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(sizes, sizes, seeds, st.booleans())
def test_each_row_comes_exactly_once_in_an_epoch(n, batch_size, seed, shuffle):
    loader = loader_of(n, batch_size, seed, shuffle=shuffle)
    for _ in range(3):
        batches = rows_of(loader)
        assert len(batches) == len(loader) == -(-n // batch_size)
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        rows = flat(batches)
        assert sorted(rows) == list(range(n))
        assert shuffle or rows == list(range(n))


@settings(deadline=None)
@given(sizes, sizes, seeds)
def test_without_the_last_batch_all_are_full(n, batch_size, seed):
    if n < batch_size:
        with pytest.raises(DataError, match=f"{n} rows make no batch of {batch_size}"):
            loader_of(n, batch_size, seed, drop_last=True)
        return
    loader = loader_of(n, batch_size, seed, shuffle=True, drop_last=True)
    batches = rows_of(loader)
    assert [len(batch) for batch in batches] == [batch_size] * (n // batch_size) == [batch_size] * len(loader)
    assert len(set(flat(batches))) == n // batch_size * batch_size


@settings(deadline=None)
@given(sizes, sizes, seeds)
def test_the_same_seed_gives_the_same_batches(n, batch_size, seed):
    one, other = (loader_of(n, batch_size, g, shuffle=True) for g in (seed, np.random.default_rng(seed)))
    for _ in range(2):
        assert rows_of(one) == rows_of(other)


def test_orders_are_the_generators_permutations():
    loader, generator = loader_of(9, 2, 3, shuffle=True), np.random.default_rng(3)
    for _ in range(3):
        np.testing.assert_array_equal(flat(rows_of(loader)), generator.permutation(9))


def test_every_order_is_equally_likely():
    loader = loader_of(3, 3, 0, shuffle=True)
    counts = pd.Series([tuple(batch) for _ in range(6000) for batch in rows_of(loader)]).value_counts()
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # the 0.999 quantile of chi² with 5 degrees of freedom


def test_arrays_are_picked_together():
    X = np.arange(20.0).reshape(10, 2)
    for x, y, z in DataLoader(X, X[:, 0].astype(int), tg.tensor(X[:, 1]), batch_size=3, shuffle=True, generator=0):
        np.testing.assert_array_equal(x, np.stack([y, z], axis=1))
        assert (x.dtype, y.dtype, z.dtype) == (np.float64, np.int64, np.float64)


def test_a_batch_is_a_copy():
    X = np.zeros((4, 2))
    for (x,) in DataLoader(X, batch_size=2):
        x += 1
    assert not X.any()


def test_a_single_row_is_a_copy():
    X = np.zeros((4, 2))
    (row,) = TensorDataset(X)[2]
    assert row.shape == (2,)
    assert not np.shares_memory(row, X)


def test_a_loop_left_early_is_over():
    loader = loader_of(10, 2, 0, shuffle=True)
    next(iter(loader))
    assert sorted(flat(rows_of(loader))) == list(range(10))


def test_two_loops_at_once_have_orders_of_their_own():
    loader = loader_of(10, 2, 0, shuffle=True)
    pairs = list(zip(loader, loader, strict=True))
    for part in (0, 1):
        assert sorted(float(x) for pair in pairs for x in pair[part][0]) == list(range(10))


# --- a state ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    sizes, st.integers(1, 9), seeds, st.booleans(), st.integers(0, 60), st.sampled_from(BIT_GENERATORS), st.booleans()
)
def test_a_state_taken_at_any_batch_continues_identically(n, batch_size, seed, shuffle, steps, kind, noisy):
    def make():
        generator = np.random.Generator(getattr(np.random, kind)(seed))
        augment = [GaussianNoise(1.0)] if noisy else []
        return loader_of(n, batch_size, generator, shuffle=shuffle, augment=augment)

    def forever(loader):
        while True:
            for (batch,) in loader:
                yield batch.tobytes()

    first = make()
    stream = forever(first)
    for _ in range(steps):
        next(stream)
    state = json.loads(json.dumps(first.state_dict()))
    second = make()
    second.load_state_dict(state)
    assert second.state_dict() == state
    continued = forever(second)
    for _ in range(3 * len(first)):
        assert next(continued) == next(stream)
        assert second.state_dict()["position"] == first.state_dict()["position"]
    assert second.state_dict() == first.state_dict()


def test_a_state_taken_at_the_last_batch_leaves_nothing_of_that_epoch():
    loader = loader_of(6, 2, 0, shuffle=True)
    states = [loader.state_dict() for _ in loader]
    resumed = loader_of(6, 2, 1, shuffle=True)
    resumed.load_state_dict(states[-1])
    assert rows_of(resumed) == []
    assert rows_of(resumed) == rows_of(loader)


def test_a_state_taken_between_epochs_begins_the_next_one():
    loader, resumed = loader_of(6, 2, 0, shuffle=True), loader_of(6, 2, 1, shuffle=True)
    rows_of(loader)
    state = loader.state_dict()
    assert (state["position"], state["order"]) == (0, None)
    resumed.load_state_dict(state)
    assert len(rows := rows_of(resumed)) == 3
    assert rows == rows_of(loader)


def test_a_state_includes_what_others_drew_from_the_same_generator():
    generator, other = np.random.default_rng(0), np.random.default_rng(9)
    loader, resumed = (loader_of(6, 2, g, shuffle=True) for g in (generator, other))
    stream = iter(loader)
    next(stream)
    generator.normal(size=5)
    resumed.load_state_dict(loader.state_dict())
    assert rows_of(resumed) == [batch[0].tolist() for batch in stream]
    assert generator.normal() == other.normal()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: loader_of(7, 2, 0, shuffle=True), "rows=6.*rows=7"),
        (lambda: loader_of(6, 3, 0, shuffle=True), "batch_size=2.*batch_size=3"),
        (lambda: loader_of(6, 2, 0), "shuffle=True.*shuffle=False"),
        (lambda: loader_of(6, 2, 0, shuffle=True, drop_last=True), "drop_last=False.*drop_last=True"),
        (lambda: loader_of(6, 2, np.random.Generator(np.random.MT19937(0)), shuffle=True), "PCG64.*MT19937"),
    ],
)
def test_a_state_of_another_loader_is_refused(other, message):
    loader, other = loader_of(6, 2, 0, shuffle=True), other()
    next(iter(loader))
    before = other.state_dict()
    with pytest.raises(DataError, match=message):
        other.load_state_dict(loader.state_dict())
    assert other.state_dict() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("order"),
        lambda state: state.update(position=4),
        lambda state: state.update(position=-1),
        lambda state: state.update(position="1"),
        lambda state: state.update(generator=None),
        lambda state: state["generator"].pop("state"),
        lambda state: state["order"]["state"].update(state="x"),
        lambda state: state["generator"]["state"].update(state=-1),
    ],
)
def test_a_damaged_state_changes_nothing(damage):
    loader = loader_of(6, 2, 0, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    damage(state)
    fresh = loader_of(6, 2, 1, shuffle=True)
    before = fresh.state_dict()
    with pytest.raises(DataError, match="state"):
        fresh.load_state_dict(state)
    assert fresh.state_dict() == before


# --- where rows come from ---------------------------------------------------------------------------------------------


def test_tables_become_arrays():
    table = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "c": [True, False, True]}, index=list("xyz"))
    dataset = TensorDataset(table, table["a"], table["a"].astype("Int64"))
    x, y, z = dataset[np.array([2, 0])]
    np.testing.assert_array_equal(x, [[3, 2.5, 1], [1, 0.5, 1]])
    np.testing.assert_array_equal(y, [3, 1])
    assert (x.dtype, y.dtype, z.dtype) == (np.float64, np.int64, np.int64)


def test_a_memory_mapped_array_is_not_loaded(tmp_path):
    rows, columns = 1000, 125_000  # 1 GB; the file has holes and takes no space
    mapped = np.memmap(tmp_path / "large", float, "w+", shape=(rows, columns))
    mapped[3, 7] = np.nan
    mapped[5] = np.arange(columns)
    tracemalloc.start()
    loader = DataLoader(mapped[1:], mapped[1:, :1], batch_size=2, shuffle=True, generator=0)
    assert np.shares_memory(loader.dataset.arrays[0], mapped)
    x, _ = loader.dataset[np.array([4, 0])]
    assert tracemalloc.get_traced_memory()[1] < 10 * columns * 8
    tracemalloc.stop()
    np.testing.assert_array_equal(x, [np.arange(columns), np.zeros(columns)])
    assert not np.shares_memory(x, mapped)
    with pytest.raises(DataError, match="row 2, column 7: the cell is nan"):  # found when it is picked, not before
        loader.dataset[np.array([0, 2])]


def test_files_of_numpy_are_mapped_too(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0))
    dataset = TensorDataset(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert isinstance(dataset.arrays[0].base, np.memmap)
    np.testing.assert_array_equal(dataset[np.array([5, 1])][0], [5, 1])


def test_a_dataset_of_ones_own():
    class Squares:
        def __len__(self):
            return 5

        def __getitem__(self, rows):
            return rows, rows**2

    batches = list(DataLoader(Squares(), batch_size=2))
    assert [y.tolist() for _, y in batches] == [[0, 1], [4, 9], [16]]


def test_a_dataset_of_ones_own_may_return_an_array():
    class Numbers:
        def __len__(self):
            return 3

        def __getitem__(self, rows):
            return rows[:, None]

    assert [x.tolist() for (x,) in DataLoader(Numbers(), batch_size=2)] == [[[0], [1]], [[2]]]


def test_a_dataset_that_returns_too_few_rows_is_refused():
    class Wrong:
        def __len__(self):
            return 4

        def __getitem__(self, rows):
            return rows, rows[:1]

    with pytest.raises(DataError, match=r"Wrong\[rows\] returned .*\(1,\) for 2 rows"):
        next(iter(DataLoader(Wrong(), batch_size=2)))


# --- wrong use --------------------------------------------------------------------------------------------------------


NAN = np.array([[1.0, 2.0], [3.0, np.nan]])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DataLoader(np.ones(4), shuffle=True), ArgumentError, r"generator=np\.random\.default_rng\(0\)"),
        (lambda: DataLoader(np.ones(4), shuffle=True, generator=-1), ArgumentError, "needs a generator, got -1"),
        (lambda: DataLoader(np.ones(4), shuffle=True, generator=True), ArgumentError, "got True"),
        (lambda: DataLoader(np.ones(4), augment=[GaussianNoise(1)]), ArgumentError, "augments"),
        (lambda: DataLoader(np.ones(4), batch_size=0), ArgumentError, "batch_size=0.*at least 1"),
        (lambda: DataLoader(np.ones(4), batch_size=1.5), ArgumentError, r"batch_size=1\.5"),
        (lambda: DataLoader(np.ones(4), np.ones(4), 32), ArgumentError, "batch_size=32"),
        (lambda: DataLoader(), DataError, "at least one"),
        (lambda: DataLoader(np.ones((0, 3))), DataError, "there are no rows"),
        (lambda: DataLoader(pd.DataFrame({"a": []})), DataError, "there are no rows"),
        (lambda: DataLoader(np.ones((3, 4)), np.ones(4)), DataError, r"\(3, 4\).*\(4,\).*transpose"),
        (lambda: DataLoader((np.ones(3), np.ones(3))), DataError, "a tuple of 2 arrays"),
        (lambda: DataLoader(NAN), DataError, r"NAN \(2, 2\), row 1, column 1: the cell is nan"),
        (lambda: DataLoader(["a", "b"]), DTypeError, "return_inverse"),
        (lambda: DataLoader(tg.tensor([1.0], requires_grad=True)), GradientError, "requires a gradient"),
        (lambda: TensorDataset(np.ones(3))[np.array([0, 3])], IndexingError, "index 3 is out of bounds"),
        (lambda: TensorDataset(np.ones(3))[:2], IndexingError, "array of integers, got array.slice"),
        (lambda: TensorDataset(np.ones(3))[np.array([True, False, True])], IndexingError, "array of integers"),
    ],
)
def test_wrong_use_is_explained(make, error, message):
    with pytest.raises(error, match=message):
        make()
