"""Named parts of a computation, for those who look at its record."""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar
from types import CodeType

from tinygrad_bc.errors import ArgumentError

__all__ = ["Scope", "current", "scope"]


class Scope:
    """One time that a part of a program ran: a ``with scope(name)`` block that was entered.

    Attributes
    ----------
    name : str
    parent : Scope or None
        The block around it.
    called_at : (code, int) or None
        Of a layer of this package: the instruction of the user's code that called it, or the layer around it. All
        that is recorded inside comes from there.
    """

    __slots__ = ("called_at", "name", "parent")

    def __init__(self, name: str, parent: Scope | None, called_at: tuple[CodeType, int] | None = None) -> None:
        self.name = name
        self.parent = parent
        self.called_at = called_at

    @property
    def path(self) -> tuple[Scope, ...]:
        """The scopes from the outermost to this one."""
        scopes = [self]
        while scopes[-1].parent is not None:
            scopes.append(scopes[-1].parent)
        return tuple(reversed(scopes))

    def __repr__(self) -> str:
        return "/".join(scope.name for scope in self.path)


current: ContextVar[Scope | None] = ContextVar("tinygrad_bc.scope", default=None)
"""The innermost scope; separate for every thread and every async task."""


class _Block(ContextDecorator):
    """What `scope` returns. A class, because a generator takes several times as long, and every layer is a scope."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _recreate_cm(self) -> _Block:
        return _Block(self._name)  # as a decorator: a fresh one for every call, also for recursive ones

    def __enter__(self) -> Scope:
        entered = Scope(self._name, current.get())
        self._token = current.set(entered)
        return entered

    def __exit__(self, *exception: object) -> None:
        current.reset(self._token)


def scope(name: str) -> _Block:
    """Give what is recorded inside the block a name: pictures draw it as one box that can be folded.

    Scopes may be nested. Entering one a second time is another repetition of it, and repetitions fold into
    ``name × N``. As a decorator, every call of the function is a repetition.

    Raises
    ------
    ArgumentError
        If `name` is not a text, or an empty one.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> x = tg.tensor([1.0, -2.0], requires_grad=True)
    >>> with tg.scope("encoder"):
    ...     hidden = tg.relu(2 * x)
    >>> hidden.node.scope
    encoder
    """
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError(f"scope: expected a name, for example scope('encoder'), got {name!r}")
    return _Block(name)
