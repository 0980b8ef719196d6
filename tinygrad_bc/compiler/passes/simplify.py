"""A record, written more simply: the same values by fewer operations.

Two kinds of rules work hand in hand, each on one operation at a time, from the inputs to the outputs. Sums, products
and quotients of elements are brought into the normal form of `algebra`, and written out again where something that
is no arithmetic needs them, if that takes fewer operations. For other operations `RULES` has rewritings.
What was computed before is found again, and what nobody needs is never written.

The result is a record like any other. Each new value is compared with the one it stands for, and where the numbers
do not agree the operation stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.passes.algebra import Form, Sum, added, combined, multiplied, number, order_of, raised
from tinygrad_bc.ops import broadcast_to
from tinygrad_bc.primitive import REGISTRY, constant
from tinygrad_bc.record import Node, Value, clock, recorded_order

__all__ = ["agree", "filled_with", "is_arithmetic", "simplify"]

ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATIVE, SQUARE, POWER, RESHAPE = (
    REGISTRY[name] for name in ("add", "subtract", "multiply", "divide", "negative", "square", "power", "reshape")
)

LARGEST = 12
"""How many bases and terms a form may have; one that is larger is computed, and the result is an atom again."""

MOST_TRIED_TWICE = 2_000
"""How many operations are simplified both with and without the values that are to be kept."""

RTOL = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-4, np.dtype(np.float16): 1e-2}
SLACK = 10.0  # for one rewriting: what it is rounded from may be small beside its terms


def simplify(
    outputs: Sequence[Value],
    inputs: Iterable[Value] = (),
    stand_ins: Mapping[Value, Value] | None = None,
    combine: bool = True,
    keep: Iterable[Value] = (),
) -> dict[Value, Value]:
    """Return values that hold the same numbers as recorded ones and take fewer operations.

    Parameters
    ----------
    outputs : sequence of Value
    inputs : iterable of Value
        Values that are not looked behind.
    stand_ins : mapping of Value to Value, optional
        Leaves that stand for recorded values in all that is computed from them: nothing is simplified across these.
    combine : bool
        Whether fractions may be brought over a common denominator.
    keep : iterable of Value, optional
        Values between that are to be computed as such, and used as they are, where that takes no more operations.

    Returns
    -------
    dict of Value to Value
        The new value for each of `outputs`, of those with stand-ins, and of others between that are still computed.
    """
    inputs, keep, add = set(inputs), set(keep), combined if combine else added
    recorded = recorded_order(outputs, stop=inputs)
    tried = [keep, set()] if keep and len(recorded) <= MOST_TRIED_TWICE else [keep]
    with record_everything(), np.errstate(all="ignore"):
        ways = [_Simplifier(outputs, recorded, inputs, stand_ins or {}, add, keep).run() for keep in tried]
        ways += [] if stand_ins else [dict(zip(outputs, outputs))]
    return min(ways, key=lambda found: len(recorded_order([found[x] for x in outputs], stop=inputs)))


# --- rules ---------------------------------------------------------------------------------------

Add = Callable[[Form, Form], Form]
MINUS_ONE = number(-1)


def _power(a: Form, b: Form) -> Form | None:
    whole = not b.powers and b.coefficient.denominator == 1 and abs(b.coefficient) <= LARGEST
    return raised(a, int(b.coefficient)) if whole else None


SIGNS = {"add": number(1), "subtract": MINUS_ONE}

PRODUCTS: dict[str, Callable[..., Form | None]] = {
    "multiply": multiplied,
    "divide": lambda a, b: multiplied(a, raised(b, -1)),
    "negative": lambda a: multiplied(MINUS_ONE, a),
    "square": lambda a: raised(a, 2),
    "reciprocal": lambda a: raised(a, -1),
    "power": _power,
    "broadcast_to": lambda a: a,  # elements meet by broadcasting anyway
}

MOVES = frozenset(["reshape", "matrix_transpose", "permute"])
"""Operations that leave an array as it is, but for its shape, if all its elements are the same."""

LINEAR = frozenset(["sum", "put"])
"""Operations that a factor which all elements share is taken out of."""


def is_arithmetic(value: Value) -> bool:
    """Return whether a recorded value is a sum, product, quotient … of elements, which `simplify` looks through."""
    return value.node is not None and value.node.op.name in {**SIGNS, **PRODUCTS}


def _computed(op: str, add: Add, operands: list[Form]) -> Form | None:
    """Return what an operation makes of forms, with one of the two ways to add them."""
    if op in SIGNS:
        return add(operands[0], multiplied(SIGNS[op], operands[1]))
    return PRODUCTS[op](*operands)


# For other operations: what may stand for a value, None if nothing simpler is known. `call` applies an operation.
Call = Callable[..., Any]


def _untransposed(value: Value, call: Call) -> Value | None:
    """Return (Aᵀ)ᵀ as A, (Aᵀ B)ᵀ as Bᵀ A and (A Bᵀ)ᵀ as B Aᵀ; a column made of a vector as a row made of it."""
    x = _input(value)
    if _is(x, "matrix_transpose"):
        return _input(x)
    if _is(x, "reshape") and _input(x)._data.ndim == 1 and x._data.ndim == 2 and 1 in x.shape:
        return call(RESHAPE, _input(x), shape=value.shape)  # a vector that was made a column or a row
    if not _is(x, "matmul"):
        return None
    a, b = _node(x).inputs
    if a._data.ndim != 2 or b._data.ndim != 2 or not (_is(a, "matrix_transpose") or _is(b, "matrix_transpose")):
        return None
    return call(_node(x).op, *(_input(y) if _is(y, "matrix_transpose") else call(_node(value).op, y) for y in (b, a)))


def _exp_of_log(value: Value, call: Call) -> Value | None:
    """Return exp(log_softmax(x)) as softmax(x)."""
    x = _input(value)
    return call(REGISTRY["softmax"], *_node(x).inputs, **_node(x).params) if _is(x, "log_softmax") else None


def _without_effect(value: Value, call: Call) -> Value | None:  # noqa: ARG001
    """Return the input of an operation that leaves shape and element type as they are."""
    x = _input(value)
    return x if x.shape == value.shape and x.dtype == value.dtype else None


def _product_with_vector(value: Value, call: Call) -> Value | None:
    """Return a product with a column or a row made of a vector, made a vector again, as a product with the vector."""
    if (same := _without_effect(value, call)) is not None:
        return same
    product = _input(value)
    if value._data.ndim != 1 or not _is(product, "matmul"):
        return None
    a, b = _node(product).inputs
    for x, factor in ((a, b), (b, a)):
        vector = _input(x) if _is(x, "reshape") and 1 in x.shape else None
        if vector is None or vector._data.ndim != 1:
            continue
        while factor._data.size == 1 and (_is(factor, "reshape") or _is(factor, "broadcast_to")):
            factor = _input(factor)
        if factor._data.ndim == 0:
            return call(MULTIPLY, factor, vector)
        if x is b and b.shape[1] == 1:
            return call(_node(product).op, a, vector)
    return None


def _sum_of_equals(value: Value, call: Call) -> Value | None:
    """Return the sum over axes along which a value was broadcast: so many times that value."""
    x = _input(value)
    if x.shape == value.shape:
        return x
    if not _is(x, "broadcast_to") or _input(x).shape != value.shape:
        return None
    return call(MULTIPLY, _input(x), x._data.size // value._data.size)


def _choice(value: Value, call: Call) -> Value | None:
    """Return a choice between elements without stretching a number that it stretches itself."""
    inputs = [_input(x) if _is(x, "broadcast_to") and _input(x)._data.ndim == 0 else x for x in _node(value).inputs]
    found = call(_node(value).op, *inputs)
    return found if found is not value and found.shape == value.shape else None


def _sum_of_placed(value: Value, call: Call) -> Value | None:
    """Return the sum over an axis of numbers put at places, one for each sum: those numbers."""
    x = _input(value)
    if not _is(x, "put"):
        return None
    numbers, *indices = _node(x).values
    axes = [axis for axis, (n, kept) in enumerate(zip(x.shape, value.shape)) if n != kept]
    if len(axes) != 1 or len(indices) != x._data.ndim or numbers._data.size != value._data.size:
        return None
    del indices[axes[0]]
    everywhere = np.indices(numbers.shape)  # the others count through all rows, whatever the data
    if not all(np.array_equal(np.broadcast_to(i._array, n.shape), n) for i, n in zip(indices, everywhere)):
        return None
    return call(RESHAPE, numbers, shape=value.shape)


def _node(value: Value) -> Node:
    assert value.node is not None
    return value.node


def _input(value: Value) -> Value:
    return next(_node(value).values)


def _is(value: Any, name: str) -> bool:
    return isinstance(value, Value) and value.node is not None and value.node.op.name == name


RULES: dict[str, Callable[[Value, Call], Value | None]] = {
    "matrix_transpose": _untransposed,
    "exp": _exp_of_log,
    "cast": _without_effect,
    "reshape": _product_with_vector,
    "sum_to": _sum_of_equals,
    "sum": _sum_of_placed,
    "where": _choice,
}


# --- the pass ------------------------------------------------------------------------------------


class _Forms:
    """The two normal forms of a value, and how many operations compute it as it was recorded."""

    __slots__ = ("full", "recorded", "tidy")

    def __init__(self, tidy: Form, full: Form, recorded: int) -> None:
        self.tidy = tidy
        self.full = full
        self.recorded = recorded


class _Simplifier:
    def __init__(
        self,
        outputs: Sequence[Value],
        recorded: list[Value],
        inputs: set[Value],
        stand_ins: Mapping[Value, Value],
        add: Add,
        keep: set[Value],
    ) -> None:
        self.add = add
        self.keep = keep
        self.order = recorded
        self.inputs = inputs
        self.outputs = list(outputs)
        self.stand_ins = stand_ins
        self.replaced: dict[Value, Value] = {}
        self.new: dict[Value, Value] = {}
        self.forms: dict[Value, _Forms] = {}
        self.atoms: list[Any] = []
        self.number_of: dict[Value, int] = {}
        self.known: dict[Any, Any] = {}
        self.started = clock()

    def run(self) -> dict[Value, Value]:
        for value in self.order:
            forms = self._arithmetic(value)
            if forms is None:
                self.new[value] = new = self._rewritten(self._again(value))
                # What is arithmetic now was something else before.
                forms = None if new is value or new in self.inputs else self._arithmetic(new)
                forms = self._other_class(new) if forms is None else forms
            if forms is not None:
                self.forms[value] = forms
                kept = value in self.keep and not self._is_filled(forms)
                if kept or _size(forms.tidy) > LARGEST:
                    self.forms[value] = self._atom(value)
            if value in self.stand_ins:
                self.replaced[value] = self._written(value)
                self.new[value] = self.stand_ins[value]
                self.forms[value] = self._atom(value)
        for value in self.outputs:
            self._written(value)
        return self.new | self.replaced

    # --- the arithmetic of elements --------------------------------------------------------------

    def _arithmetic(self, value: Value) -> _Forms | None:
        """Return the forms of what an arithmetic operation computes, None for other operations."""
        if value.dtype.kind not in "fi":
            return None
        node: Any = value.node
        if node is not None and node.op.name in MOVES:
            forms = self._of(_input(value))
            return _Forms(forms.tidy, forms.full, forms.recorded + 1) if self._is_filled(forms) else None
        if node is not None and node.op.name in LINEAR:
            return self._without_factor(value)
        if not is_arithmetic(value):
            return None
        operands = [self._of(x) for x in node.inputs]
        try:
            tidy = _computed(node.op.name, added, [x.tidy for x in operands])
            full = _computed(node.op.name, self.add, [x.full for x in operands])
        except (ZeroDivisionError, OverflowError):
            return None
        if tidy is None or full is None:
            return None
        if _size(full) > LARGEST:
            full = tidy
        return _Forms(tidy, full, sum(x.recorded for x in operands) + 1)

    def _without_factor(self, value: Value) -> _Forms | None:
        """Return a linear operation as the factor that all elements share times the operation on the rest."""
        x, *others = _node(value).values
        forms = self._of(x)
        shared = frozenset(power for power in forms.tidy.powers if self._is_filled_with(power[0]))
        factor, rest = Form(forms.tidy.coefficient, shared), Form(Fraction(1), forms.tidy.powers - shared)
        if factor == number(1):
            return None
        inside = self._emitted(rest) if rest.powers else constant(np.ones(x.shape, x.dtype))
        if inside.shape != x.shape or inside.dtype != x.dtype:
            return None
        inputs = [inside, *(self._written(y) for y in others)]
        new = self._rewritten(self._call(_node(value).op, *inputs, **_node(value).params))
        filled = self._arithmetic(new) if new.node is not None and new.node.op.name in MOVES else None
        product = multiplied(factor, (filled or self._numbered(new)).tidy)
        return _Forms(product, product, forms.recorded + 1)

    def _is_filled_with(self, base: Any) -> bool:
        return isinstance(base, int) and np.ndim(getattr(self.atoms[base], "_data", 0)) == 0

    def _is_filled(self, forms: _Forms) -> bool:
        """Return whether all elements are the same: numbers and values without axes, whatever the shape."""
        return all(self._is_filled_with(base) for base, _ in forms.tidy.powers)

    def _other_class(self, value: Value) -> _Forms | None:
        """Return σ(−x) also as 1 − σ(x), which is shorter beside a σ(x), and alone would lose digits."""
        if value in self.inputs or not (_is(value, "sigmoid") and _is(_input(value), "negative")):
            return None
        other = self._numbered(self._call(_node(value).op, *_node(_input(value)).inputs))
        itself = self._numbered(value)
        return _Forms(itself.tidy, self.add(number(1), multiplied(MINUS_ONE, other.full)), 0)

    def _of(self, x: Any) -> _Forms:
        if not isinstance(x, Value):
            return _Forms(number(x), number(x), 0) if math.isfinite(x) else self._numbered(x)
        if x in self.forms:
            return self.forms[x]
        the_same = None if x in self.inputs else filled_with(x)
        return self._atom(x) if the_same is None else _Forms(number(the_same), number(the_same), 0)

    def _atom(self, x: Value) -> _Forms:
        return self._numbered(self._written(x))

    def _numbered(self, x: Any) -> _Forms:
        if x not in self.number_of:
            self.number_of[x] = len(self.atoms)
            self.atoms.append(x)
        form = Form(Fraction(1), frozenset({(self.number_of[x], 1)}))
        return _Forms(form, form, 0)

    def _written(self, value: Value) -> Value:
        """Return the new value that stands for one of the record, computing it from its form if need be."""
        if value not in self.new:
            forms = self.forms.get(value)
            self.new[value] = new = value if forms is None else self._cheapest(value, forms)
            if forms is not None:
                self.forms.setdefault(new, forms)
        return self.new[value]

    def _cheapest(self, value: Value, forms: _Forms) -> Value:
        form = min((way for form in (forms.tidy, forms.full) for way in _ways(form)), key=_cost)
        if _cost(form) < forms.recorded:
            found = self._as_before(self._emitted(form), value)
            if found is not None:
                return self._placed(found, value)
        return self._again(value)

    def _as_before(self, found: Any, value: Value) -> Value | None:
        """Return `found` with the shape of the value that it is to replace; None if it is not the same."""
        if not isinstance(found, Value):
            found = constant(np.asarray(found, dtype=value.dtype))
        if found.shape != value.shape:
            found = self._call(broadcast_to, found, shape=value.shape)
        return found if agree(found._array, value._array, slack=SLACK) else None

    def _emitted(self, form: Form) -> Any:
        """Return the value of a form, computed by the fewest operations; a plain number if it is one."""
        form = min(_ways(form), key=_cost)
        above, below, negative = self._factors(form)
        top = self._product(above)
        if below:
            bottom = self._product(below)
            top = self._call(DIVIDE, 1 if top is None else top, bottom)
        top = 1 if top is None else top
        return self._call(NEGATIVE, top) if negative else top

    def _factors(self, form: Form) -> tuple[list[Any], list[Any], bool]:
        """Return what is multiplied, what is divided by, and whether the whole is to be negated."""
        negative = form.coefficient < 0
        above: list[Any] = []
        below: list[Any] = []
        for base, power in sorted(form.powers, key=lambda pair: order_of(frozenset({pair}))):
            flip = negative and power % 2 == 1 and isinstance(base, Sum) and _can_flip(base)
            negative ^= flip
            factor = self._sum(base, -1 if flip else 1) if isinstance(base, Sum) else self.atoms[base]
            side = above if power > 0 else below
            side.append(self._raised(factor, abs(power)))
        size = abs(form.coefficient)
        if _is_divisor(size):
            below.append(_plain(1 / size))
        elif size != 1:
            above.insert(0, _plain(-size if negative else size))
            negative = False
        above.sort(key=lambda factor: np.ndim(getattr(factor, "_data", 0)) > 0)  # one number less per element
        return above, below, negative

    def _raised(self, factor: Any, power: int) -> Any:
        if power > 2:
            return self._call(POWER, factor, power)
        return factor if power == 1 else self._call(SQUARE, factor)

    def _product(self, factors: list[Any]) -> Any:
        total = None
        for factor in factors:
            total = factor if total is None else self._call(MULTIPLY, total, factor)
        return total

    def _sum(self, base: Sum, sign: int) -> Any:
        terms = [Form(coefficient * sign, powers) for powers, coefficient in base.terms]
        terms.sort(key=lambda term: (term.coefficient < 0, order_of(term.powers)))
        total = self._emitted(terms[0])
        for term in terms[1:]:
            size = self._emitted(Form(abs(term.coefficient), term.powers))
            total = self._call(SUBTRACT if term.coefficient < 0 else ADD, total, size)
        return total

    # --- recording -------------------------------------------------------------------------------

    def _again(self, value: Value) -> Value:
        """Return the operation that made a value, applied to the new values of its inputs."""
        node: Any = value.node
        inputs = [self._written(x) if isinstance(x, Value) else x for x in node.inputs]
        if all(a is b for a, b in zip(inputs, node.inputs)):
            key = _key(node.op, inputs, node.params)
            return self.known.setdefault(key, value) if key is not None else value
        return self._placed(self._call(node.op, *inputs, **node.params), value)

    def _call(self, op: Callable[..., Any], *inputs: Any, **params: Any) -> Any:
        """Return the result of an operation, the one from before if there is one."""
        if not any(isinstance(x, Value) for x in inputs):
            return op(*inputs, **params)
        key = _key(op, inputs, params)
        if key is None:
            return op(*inputs, **params)
        if key not in self.known:
            self.known[key] = op(*inputs, **params)
        return self.known[key]

    def _placed(self, new: Value, old: Value) -> Value:
        """Return a new value that says of itself that the user's line recorded it which recorded the old one."""
        if new.node is not None and old.node is not None and new.node.tick > self.started:  # and is not the user's own
            new.node.take_place_of(old.node)
        return new

    def _rewritten(self, value: Value) -> Value:
        while value not in self.inputs and value.node is not None and value.node.op.name in RULES:
            simpler = RULES[value.node.op.name](value, self._call)
            if simpler is None or not agree(simpler._array, value._array, slack=SLACK):
                break
            value = simpler
        return value


def _key(op: Any, inputs: Iterable[Any], params: dict[str, Any]) -> Any:
    try:
        key = (op, *((type(x), x) for x in inputs), *sorted(params.items()))
        hash(key)
    except TypeError:  # a parameter that cannot be hashed
        return None
    return key


def filled_with(x: Value) -> float | None:
    """Return the number that all elements of an unnamed constant are, or None."""
    if x.node is not None or x.name or x._requires_grad or x._data.size == 0 or x.dtype.kind not in "fi":
        return None
    first = x._array.flat[0]
    return first.item() if np.isfinite(first) and (x._array == first).all() else None


def agree(a: Any, b: np.ndarray[Any, Any], size: float = 0.0, slack: float = 1.0) -> bool:
    """Return whether two arrays are the same but for rounding where `b` is finite.

    Rounding is relative to the largest entry, or to `size`, that of the numbers which `b` was added up from; `slack`
    says how many times as much of it is allowed.
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, finite = np.asarray(a), np.isfinite(b)
    scale = np.abs(b[finite]).max(initial=size)
    return bool(np.abs(a[finite] - b[finite]).max(initial=0.0) <= slack * RTOL.get(b.dtype, 0.0) * scale)


def _size(form: Form) -> int:
    return sum(
        1 + (sum(_size(Form(c, p)) for p, c in base.terms) if isinstance(base, Sum) else 0) for base, _ in form.powers
    )


def _ways(form: Form) -> list[Form]:
    """Return a form, and the same with its coefficient inside its sum, if it has one; first what reads better."""
    inside = [base for base, power in form.powers if isinstance(base, Sum) and power == 1]
    if len(inside) != 1 or abs(form.coefficient) == 1:
        return [form]
    terms = Sum(frozenset((powers, c * form.coefficient) for powers, c in inside[0].terms))
    other = Form(Fraction(1), form.powers - {(inside[0], 1)} | {(terms, 1)})
    plain = all(abs(c) == 1 for _, c in inside[0].terms)
    return [form, other] if plain else [other, form]  # 2·(1 − x), and 12·x + 3·y


def _is_divisor(x: Fraction) -> bool:
    """Return whether to multiply by `x` is to divide by a number: by 20, by √2 as recorded; not by 10 for 0.1."""
    if not x or x == 1:
        return False
    whole = x.numerator == 1 and x.denominator <= 2**20
    return whole or (Fraction(float(1 / x)) == 1 / x and Fraction(float(x)) != x)


def _can_flip(base: Sum) -> bool:
    return any(coefficient < 0 for _, coefficient in base.terms)


def _cost(form: Form) -> int:
    """Return how many operations writing out a form takes."""
    negative = form.coefficient < 0
    total = max(len(form.powers) - 1, 0)
    for base, power in form.powers:
        total += abs(power) != 1
        if isinstance(base, Sum):
            total += len(base.terms) - 1 + sum(_cost(Form(abs(c), p)) for p, c in base.terms)
            negative &= not (power % 2 == 1 and _can_flip(base))
    if form.powers:
        size = abs(form.coefficient)
        total += (size != 1) + (negative and (size == 1 or _is_divisor(size)))
        total += size == 1 and all(power < 0 for _, power in form.powers)  # 1 / x
    return total


def _plain(x: Fraction) -> float:
    return int(x) if x.denominator == 1 else float(x)
