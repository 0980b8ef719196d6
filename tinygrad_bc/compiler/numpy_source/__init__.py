"""A graph as NumPy source that reads as if written by hand: its statements, and what each operation comes to."""
