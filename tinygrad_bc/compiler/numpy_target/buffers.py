"""Which array holds which value: memory is allocated once, and shared by values not needed at the same time."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np

from tinygrad_bc.compiler.numpy_target.instructions import Instruction, Kind, parse
from tinygrad_bc.compiler.numpy_target.storage import Place, Storage, new_place
from tinygrad_bc.record import Value

__all__ = ["Plan", "parts", "roots"]

WORTH_SHARING = 2**20
"""From how many bytes on arrays of different shapes share memory."""


class Plan:
    """Where every value of a list of instructions stands.

    Parameters
    ----------
    instructions : sequence of Instruction
    first : int
        The position of the first instruction that runs in every step; those before are prepared.
    leaves : iterable of Value
        Arguments and constants.
    memory : sequence of Value
    results : sequence of Value
        They, and what is prepared, are needed to the end.
    updates : mapping of Value to Value
    orders : mapping of Value to tuple of int
        The axes of values from the one along which steps through memory are longest.

    Attributes
    ----------
    places : dict of Value to Place
    pending : list of (Value, Value)
        The updates that were not written into the memory at once, and are copied at the end.
    joined : set of Value
        Concatenations whose parts are written where they belong.
    over : dict of Value to Value
        Values that are written over another one.
    """

    def __init__(
        self,
        instructions: Sequence[Instruction],
        first: int,
        leaves: Iterable[Value],
        memory: Sequence[Value],
        results: Sequence[Value],
        updates: dict[Value, Value],
        orders: dict[Value, tuple[int, ...]],
        join: bool = True,
    ) -> None:
        self.instructions = instructions
        self.first = first
        self.by_value = {i.value: i for i in instructions}
        self.position = {i.value: n for n, i in enumerate(instructions)}
        self.memory = frozenset(memory)
        self.orders = orders
        self.places: dict[Value, Place] = {}
        self.joined: set[Value] = set()
        self.over: dict[Value, Value] = {}
        self.roots = roots(instructions)
        self.views: dict[Value, list[Value]] = {}
        self.seen: set[Value] = set()  # values that are views of views of their roots
        for instruction in instructions:
            if instruction.kind is Kind.VIEW:
                (base,) = instruction.values
                root = self.root(base)
                if base is root or base in self.seen:
                    self.seen.add(instruction.value)
                    self.views.setdefault(root, []).append(instruction.value)
        for leaf in leaves:
            self.places[leaf] = self._leaf(leaf)
        if join:
            self._place_parts(updates)
        for leaf in memory:
            if leaf not in self.places:
                self.places[leaf] = self._leaf(leaf)
        self.needed = self._needed({*results, *updates.values()})
        self.pending = self._place_updates(updates, {self.root(x) for x in results})
        self._place_others()

    # --- what is needed how long

    def root(self, value: Value) -> Value:
        """Return the value whose memory a view looks at."""
        return self.roots.get(value, value)

    def _needed(self, kept: Set[Value]) -> dict[Value, float]:
        """Return the last instruction that needs the memory of each root; infinity for what is kept."""
        needed: dict[Value, float] = {}
        for n, instruction in enumerate(self.instructions):
            needed[self.root(instruction.value)] = n
            for x in instruction.values:
                kept_for_steps = n >= self.first > self.position.get(x, n)
                needed[self.root(x)] = math.inf if kept_for_steps else max(n, needed.get(self.root(x), n))
        needed.update((self.root(x), math.inf) for x in kept)
        needed.update((value, math.inf) for value in self.joined if self._has_lasting_part(value))
        return needed

    def _has_lasting_part(self, value: Value) -> bool:
        """Return whether a part of a concatenation is written once, and not in every step."""
        return any(self.position.get(x, -1) < self.first for x in self.by_value[value].values)

    def _leaf(self, leaf: Value) -> Place:
        storage = Storage(leaf._data.size, leaf.dtype, owner=leaf)
        order = self.orders.get(leaf)
        return new_place(leaf, order, storage) if order else Place(storage, storage.array.reshape(leaf.shape))

    # --- parts of concatenations

    def _place_parts(self, updates: dict[Value, Value]) -> None:
        """Give the parts of concatenations places in the whole, the outermost first."""
        computed = {self.root(x) for x in updates.values()}
        for instruction in reversed(self.instructions):
            value = instruction.value
            if not _joins(instruction) or value in self.places:
                continue
            inside = self._innermost(value)
            of_memory = all(x in self.memory for x in inside) and len(set(inside)) == len(inside)
            if not of_memory and not any(self._can_be_placed(x, value) for x in inside):
                continue
            place = new_place(value, self.orders.get(value), Storage(value._data.size, value.dtype))
            place.storage.owner = value if of_memory else None
            found, joined = self._placed(value, place, computed)
            if not of_memory or all(x in found for x in inside):
                self.places |= found
                self.joined |= joined

    def _innermost(self, value: Value) -> list[Value]:
        """Return what a concatenation is made of, through concatenations of concatenations."""
        found, waiting = [], [value]
        while waiting:
            x = waiting.pop()
            instruction = self.by_value.get(x)
            if instruction and (_joins(instruction) or _reshapes(instruction)) and x not in self.places:
                waiting += reversed(instruction.values)
            else:
                found.append(x)
        return found

    def _can_be_placed(self, x: Value, whole: Value) -> bool:
        if x in self.places:
            return self.places[x].storage.owner is not None and x not in self.memory  # a leaf: copied there
        instruction = self.by_value.get(x)
        if instruction is None or instruction.kind is not Kind.CALL:
            return False
        return (self.position[x] < self.first) == (self.position[whole] < self.first)

    def _placed(self, value: Value, place: Place, computed: Set[Value]) -> tuple[dict[Value, Place], set[Value]]:
        """Return the places of a value and of the parts that it is joined of, and which of them are joined, too."""
        found: dict[Value, Place] = {}
        joined: set[Value] = set()
        waiting = [(value, place)]
        while waiting:
            x, inside = waiting.pop()
            instruction = self.by_value.get(x)
            if x in self.places or x in found or x in computed or not self._views_hold(x, inside):
                continue
            if x in self.memory:
                if place.storage.owner is value:
                    found[x] = inside
            elif instruction is not None and _joins(instruction):
                found[x] = inside
                joined.add(x)
                waiting += zip(instruction.values, parts(instruction, inside))
            elif instruction is not None and _reshapes(instruction):
                (base,) = instruction.values
                before = inside.view(parse(f"x0.reshape({', '.join(map(str, base.shape)) or '()'})"))
                if base.shape and before.looks_at(inside):
                    waiting.append((base, before))
            elif instruction is not None and self._can_be_placed(x, value) and writes_to(instruction, inside):
                found[x] = inside
        return found, joined

    def _views_hold(self, x: Value, place: Place) -> bool:
        """Return whether what looks at a value can do so without a copy, if that stands in a certain place."""
        return all(self._seen_at(view, x, place).looks_at(place) for view in self.views.get(x, ()))

    # --- updates

    def _place_updates(self, updates: dict[Value, Value], results: Set[Value]) -> list[tuple[Value, Value]]:
        """Write new values over the old ones where nothing reads these afterwards; return the other updates."""
        by_root: dict[Value, list[tuple[Value, Value]]] = {}
        for old, new in updates.items():
            by_root.setdefault(self.root(new), []).append((old, new))
        pending = []
        for root, pairs in by_root.items():
            place = None if root in results or root in self.places else self._over_memory(root, pairs)
            if place is None:
                pending += pairs
            else:
                self.places[root] = place
        return pending

    def _over_memory(self, root: Value, pairs: list[tuple[Value, Value]]) -> Place | None:
        instruction = self.by_value.get(root)
        if instruction is None or instruction.kind is not Kind.CALL or self.position[root] < self.first:
            return None
        candidates = [self.places[old] for old, new in pairs if new is root]
        for old, _ in pairs[:1]:  # or what the array is a part of
            inside = self.places[old]
            while inside.base is not None:
                candidates.append(inside := inside.base)
        for place in candidates:
            fits = place.array.shape == root.shape and place.storage.owner is not None
            if fits and all(self._seen_at(new, root, place).key == self.places[old].key for old, new in pairs):
                return place if writes_to(instruction, place) and self._unread(place, instruction) else None
        return None

    def _seen_at(self, value: Value, root: Value, place: Place) -> Place:
        """Return the place of a view of `root`, if that stood at `place`."""
        steps = []
        while value is not root:
            steps.append(self.by_value[value])
            value = self.by_value[value].values[0]
        for instruction in reversed(steps):
            place = place.view(instruction.code)
        return place

    def _unread(self, place: Place, instruction: Instruction) -> bool:
        """Return whether an instruction may write to a place of old values: nothing reads them afterwards."""
        start = self.position[instruction.value]
        for later in self.instructions[start + 1 :]:
            for x in later.values:
                old = self.root(x) is not self.root(instruction.value) and x is not instruction.value
                if old and later.kind is not Kind.VIEW and (seen := self._looked_at(x)) and seen.overlaps(place):
                    return False
        return self._may_write_over(instruction, place)

    def _looked_at(self, value: Value) -> Place | None:
        root = self.root(value)
        if root not in self.places:
            return None
        return self._seen_at(value, root, self.places[root]) if value in self.seen else self.places[root]

    def _may_write_over(self, instruction: Instruction, place: Place) -> bool:
        """Return whether what an instruction reads there is what it writes over, element by element."""
        for x in instruction.values:
            seen = self._looked_at(x)
            if seen and seen.overlaps(place) and not (instruction.elementwise and seen.key == place.key):
                return False
        return True

    # --- all others

    def _place_others(self) -> None:
        free: list[tuple[Storage, Value]] = []
        for n, instruction in enumerate(self.instructions):
            value = instruction.value
            if instruction.kind is Kind.VIEW:
                self.places.setdefault(value, self.places[instruction.values[0]].view(instruction.code))
            elif instruction.kind is Kind.ASSIGNMENT and n >= self.first:
                storage = Storage(value._data.size, value.dtype, owner=value)
                self.places[value] = new_place(value, self.orders.get(value), storage)
            elif value not in self.places:
                self.places[value] = self._over_input(n, instruction) or self._buffer(n, value, free)

    def _over_input(self, n: int, instruction: Instruction) -> Place | None:
        """Return the place of an input of which this is the last use, if the result may be written over it."""
        if not instruction.elementwise:
            return None
        value, order = instruction.value, self.orders.get(instruction.value)
        for x in instruction.values:
            place, root = self.places[x], self.root(x)
            fits = root is x and x.shape == value.shape and x.dtype == value.dtype and order == self.orders.get(x)
            dies = fits and place.storage.owner is None and self.needed[x] <= n and self._last_use(place) <= n
            if dies and self._may_write_over(instruction, place):
                place.storage.free = max(place.storage.free, self.needed[value])
                self.over[value] = x
                return place
        return None

    def _last_use(self, place: Place) -> float:
        """Return the last instruction that needs what stands in the storage of a place."""
        if place.storage.free < math.inf:
            return place.storage.free
        inside = [x for x, other in self.places.items() if other.storage is place.storage]
        return max(self.needed.get(self.root(x), math.inf) for x in inside)

    def _buffer(self, n: int, value: Value, free: list[tuple[Storage, Value]]) -> Place:
        """Return a place in memory that is free from now on: of this shape, or large enough, or new."""
        size, until = value._data.size, self.needed[self.root(value)]
        order = self.orders.get(value)
        idle = [(s, place) for s, place in free if s.free < n and s.array.dtype == value.dtype]
        alike = [s for s, x in idle if x.shape == value.shape and self.orders.get(x) == order]
        large = [s for s, x in idle if WORTH_SHARING <= value._data.nbytes <= x._data.nbytes <= 2 * value._data.nbytes]
        storage = next(iter(alike + large), None)
        if storage is None:
            storage = Storage(size, value.dtype)
            free.append((storage, value))
        storage.free = until
        return new_place(value, self.orders.get(value), storage)


def _joins(instruction: Instruction) -> bool:
    node: Any = instruction.value.node
    return node.op.name == "concatenate" and instruction.kind is Kind.CALL


def _reshapes(instruction: Instruction) -> bool:
    node: Any = instruction.value.node
    return node.op.name == "reshape" and instruction.kind is Kind.VIEW


def parts(instruction: Instruction, place: Place) -> list[Place]:
    """Return the places of the parts of a concatenation in the place of the whole."""
    node: Any = instruction.value.node
    axis, start, found = node.params["axis"] % len(instruction.value.shape), 0, []
    for x in instruction.values:
        stop = start + x.shape[axis]
        found.append(place.part(axis, start, stop))
        start = stop
    return found


def writes_to(instruction: Instruction, place: Place) -> bool:
    """Return whether an instruction can write to an array of that layout."""
    if "np.dot(" in ast.unparse(instruction.code):
        return bool(place.array.flags.c_contiguous or place.array.flags.f_contiguous)
    return True


def roots(instructions: Iterable[Instruction]) -> dict[Value, Value]:
    """Return, for values that are views of others or may be, whose memory they look at."""
    found: dict[Value, Value] = {}
    for instruction in instructions:
        if instruction.kind is Kind.CALL:
            continue
        for x in instruction.values:
            if instruction.kind is Kind.VIEW or np.may_share_memory(x._array, instruction.value._array):
                found[instruction.value] = found.get(x, x)
                break
    return found
