"""From what a function did to a program that does it again, faster, and can be read.

`capture` runs a function once and records it as a `Program`; `passes` says how that is made simpler and turned into
core operations; the targets write it as source, build and bind it to memory; `compiled` keeps the programs and runs
them: that is `tinygrad_bc.compile`.

A derivation writes its source with the same parts: `statements` says which values of a graph become assignments of
their own; `numpy_source` writes these as NumPy source that reads as if written by hand, with the help of `specialise`,
which works out from the Python source of an operation's forward computation what remains of it once shapes, element
types and metadata are known.
"""

from tinygrad_bc.compiler.compiled import compile as compile
