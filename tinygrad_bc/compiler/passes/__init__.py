"""Passes: from a program to one that does the same by other operations."""
