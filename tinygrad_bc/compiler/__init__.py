"""From a recorded graph to a program: the grouping of its values into statements, and what writes them out.

`statements` says which values of a graph become assignments of their own; `numpy_source` writes these as
NumPy source that reads as if written by hand, with the help of `specialise`, which works out from the Python
source of an operation's forward computation what remains of it once shapes, element types and metadata are known.
"""
