"""Twins: the same function, once compiled and once as it is, each in a world of its own, over several calls."""

import contextlib
import importlib.util
import types
from pathlib import Path

import numpy as np

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.compiler import compiled
from tinygrad_bc.compiler.calls import rebuilt
from tinygrad_bc.optim.lr_scheduler import ReduceLROnPlateau
from tinygrad_bc.optim.lr_scheduler.schedule import LRScheduler

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).parent / "reference.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

WAYS = {
    "reference": {"simplify": False},
    "numpy, plain": {"simplify": False},
    "numpy": {},
}
"""How to compile: for the simplest target, which is about capture alone; NumPy's calls as they are; simplified."""

EXACT = ("reference", "numpy, plain")

Saved = optim.Optimizer | LRScheduler | ReduceLROnPlateau | optim.AveragedParameters


@contextlib.contextmanager
def compiled_for(way):
    """Let `tg.compile` build for the simplest target inside, if that is the way."""
    before = compiled.build
    if way == "reference":
        compiled.build = lambda program, target, simplify=True: reference.Reference(program)
    try:
        yield
    finally:
        compiled.build = before


def frozen(thing):
    """Return all there is to see of a thing, as plain containers of arrays and Python objects."""
    if isinstance(thing, tg.Tensor):
        gradient = None if thing._grad is None else frozen(thing._grad)
        return {"data": np.array(thing._array), "grad": gradient, "requires_grad": thing.requires_grad}
    if isinstance(thing, nn.Module):
        tensors = {name: frozen(x) for name, x in thing.named_parameters()}
        modes = {name: module.training for name, module in thing.named_modules()}
        generators = {name: frozen(x) for name, x in thing.named_generators()}
        return {**thing.state_dict(), "tensors": tensors, "modes": modes, "generators": generators}
    if isinstance(thing, Saved):
        return frozen(thing.state_dict())
    if isinstance(thing, np.random.Generator):
        return repr(thing.bit_generator.state)
    if hasattr(thing, "to_numpy"):
        return np.array(thing.to_numpy())
    if isinstance(thing, dict):
        return {key: frozen(x) for key, x in thing.items()}
    if isinstance(thing, tuple | list):
        return [type(thing).__name__, *map(frozen, thing)]
    return np.array(thing) if isinstance(thing, np.ndarray) else thing


def without_history(result):
    """Return what a function returned with computed tensors as plain ones: results have no history."""
    return rebuilt(result, lambda x: tg.tensor(x._array) if isinstance(x, tg.Tensor) and x.node is not None else x)


def assert_same(a, b, exact, where=""):
    """Fail unless two frozen things are equal: bit for bit, or as good as rounding allows."""
    assert type(a) is type(b), (where, a, b)
    if isinstance(a, dict):
        assert list(a) == list(b), (where, list(a), list(b))
        for key in a:
            assert_same(a[key], b[key], exact, f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), (where, a, b)
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, exact, f"{where}[{i}]")
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, (where, a.dtype, b.dtype)
        if exact:
            np.testing.assert_array_equal(a, b, err_msg=where)
        else:
            rtol = 1e-12 if a.dtype == np.float64 else 1e-5
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * (np.abs(b).max(initial=0) + 1e-3), err_msg=where)
    elif isinstance(a, float) and not exact:
        assert np.isclose(a, b, rtol=1e-12, atol=0, equal_nan=True), (where, a, b)
    elif not callable(a):
        assert a == b or (a != a and b != b), (where, a, b)


def world(**things):
    """Return a namespace: what a function works on, and the function itself, as `step`."""
    return types.SimpleNamespace(**things)


def assert_twins_agree(make, way, calls=5, between=None, programs=None, exact=True, **options):
    """Run a function eagerly and compiled, and fail where something is not the same after each call.

    Parameters
    ----------
    make : callable
        Makes a `world`, every time the same.
    way : str
        One of `WAYS`.
    calls : int, or sequence of tuple
        How many calls without arguments, or functions that make the arguments of each.
    between : mapping of int to callable, optional
        What is done to the world before some of the calls.
    programs : int, optional
        How many programs are to be captured.
    exact : bool
        Whether the results are to be the same bit for bit, if nothing is simplified.
    **options
        Of `tg.compile`.

    Returns
    -------
    Compiled
    """
    calls = [tuple] * calls if isinstance(calls, int) else calls
    with compiled_for(way):
        eager, fast = make(), make()
        step = tg.compile(fast.step, **WAYS[way], **options)
        for k, arguments in enumerate(calls):
            for each in (eager, fast):
                if between and k in between:
                    between[k](each)
            given = [arguments(), arguments()]
            for _ in range(options.get("steps", 1)):
                expected = eager.step(*given[0])
            found = step(*given[1])
            seen = [
                frozen({**vars(each), "result": without_history(result), "given": g})
                for each, result, g in ((fast, found, given[1]), (eager, expected, given[0]))
            ]
            assert_same(*seen, exact and way in EXACT, f"call {k}: ")
    if programs is not None:
        assert len(step.programs) == programs, step.programs
    return step
