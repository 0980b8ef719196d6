"""The simplest target: a program's operations, one after the other, by their own forward functions."""

import numpy as np


class Reference:
    """A program that runs as a target does, slowly, and is its own `Built` and `Bound`."""

    source = ""
    any_layout = True

    def __init__(self, program):
        self.program = program

    def pack(self, memory):
        return list(memory)

    def bind(self, memory):
        self.memory = list(memory)
        return self

    def prepare(self, *arguments):
        pass

    def step(self, *arguments):
        program = self.program
        arrays = dict(zip(program.inputs, [*arguments, *self.memory]))
        values = (
            program.graph.evaluate({x: a for x, a in arrays.items() if x in program.graph}) if program.graph else ()
        )
        found = dict(zip(program.graph.outputs, values))
        for old, new in program.updates.items():
            np.copyto(arrays[old], found[new])
        return tuple(found[x] for x in program.results)

    def loop(self, steps, varying, *arguments):
        for k in range(steps):
            now = [varying[i][k] if i in varying else x for i, x in enumerate(arguments)]
            results = self.step(*map(np.asarray, now))
        return results
