"""A program: what a function did to numbers, as a graph with a beginning and an end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tinygrad_bc.record import Graph, Value

__all__ = ["Program"]


class Program:
    """What a call is given, what it returns and what it changes, and the recorded graph in between.

    Parameters
    ----------
    name : str
        The name of the function it was captured from.
    arguments : sequence of Value
        The leaves whose numbers are passed at every call: what the function is called with, learning rates, random
        draws.
    memory : sequence of Value
        The leaves whose numbers stand in arrays that stay where they are from call to call: parameters, what an
        optimiser remembers, other tensors. All leaves that are neither are constants.
    results : sequence of Value
        What a call returns.
    updates : mapping of Value to Value, optional
        For values in `memory` that a call changes: what they are afterwards. They are changed at the end, all at once.
    steady : iterable of Value, optional
        The arguments, and values in memory, that seldom change between calls, and of which it is known when they do.
        What follows from these alone is computed again only then.
    labels : mapping of Value to str, optional
        What values are called. By default a `Graph` finds names in the user's code.

    Attributes
    ----------
    graph : Graph
        Its outputs are the results, then the new values of what is updated.
    inputs : list of Value
        The arguments, then the memory.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[Value],
        memory: Sequence[Value],
        results: Sequence[Value],
        updates: Mapping[Value, Value] | None = None,
        steady: Iterable[Value] = (),
        labels: Mapping[Value, str] | None = None,
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.memory = list(memory)
        self.inputs = [*self.arguments, *self.memory]
        self.results = list(results)
        self.updates = dict(updates or {})
        self.steady = frozenset(steady) - self.updates.keys()
        self.graph = Graph([*self.results, *self.updates.values()], self.inputs, labels=labels)

    def replaced(self, new: Mapping[Value, Value]) -> Program:
        """Return the program with other values in the place of computed ones, which keep the labels they had.

        Parameters
        ----------
        new : mapping of Value to Value
            For outputs, what takes their place; for values between, whose label it is to get.
        """
        graph = self.graph
        labels = {
            new.get(value, value): graph.label(value) for value in graph if not graph.label(value).startswith("%")
        }
        return Program(
            self.name,
            self.arguments,
            self.memory,
            [new.get(value, value) for value in self.results],
            {old: new.get(value, value) for old, value in self.updates.items()},
            self.steady,
            labels,
        )

    def prepared(self) -> list[Value]:
        """Return the computed values that follow from steady inputs and constants alone, and are needed by others.

        They are computed before the first step, and again only when a steady input has changed.
        """
        graph = self.graph
        varies = set(self.inputs) - self.steady
        for value in graph:
            node = graph.node(value)
            if node is not None and (not varies.isdisjoint(node.values) or not any(True for _ in node.values)):
                varies.add(value)
        needed = {x for value in varies if (node := graph.node(value)) is not None for x in node.values}
        needed.update(graph.outputs)
        return [value for value in graph if graph.node(value) is not None and value not in varies and value in needed]

    def passes(self) -> dict[str, Program]:
        """Return the program as it was captured and after each pass that every target begins with, by their names."""
        from tinygrad_bc.compiler import pipeline

        return pipeline.stages(self)

    def source(self, target: str = "numpy", simplify: bool = True) -> str:
        """Return the program as it runs on a target: a module of NumPy, or a file of C.

        Parameters
        ----------
        target : {"numpy", "c"}
        simplify : bool
            As for `compile`.

        Raises
        ------
        ArgumentError
            If there is no such target.
        """
        from tinygrad_bc.compiler import pipeline

        return pipeline.source(self, target, simplify)

    def label(self, value: Value) -> str:
        """Return what a value is called; an input need not be part of the graph."""
        return self.graph.label(value) if value in self.graph else value.name or "unused"

    def __repr__(self) -> str:
        inputs, count = ", ".join(map(self.label, self.inputs)), sum(self.graph.node(x) is not None for x in self.graph)
        return f"<program {self.name}({inputs}), {count} operation{'s' * (count != 1)}>"

    def __str__(self) -> str:
        graph, inputs = self.graph, set(self.inputs)
        lines = []
        for value in graph:
            if value not in inputs:
                formula = graph.formula(value) or (str(value._data) if not value.shape else "constant")
                shape = "×".join(map(str, value.shape)) or "scalar"
                lines.append((f"  {graph.label(value)} = {formula}", f"{shape} {value.dtype}"))
        width = max((len(left) for left, _ in lines), default=0)
        body = [f"{left:<{width}}  {right}" for left, right in lines]
        head = f"{self.name}({', '.join(map(self.label, self.inputs))}):"
        changes = [f"  {self.label(old)} ← {graph.label(new)}" for old, new in self.updates.items()]
        returns = [f"  return {', '.join(map(graph.label, self.results))}"] if self.results else []
        return "\n".join([head, *body, *changes, *returns])
