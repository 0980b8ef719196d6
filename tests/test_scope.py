import contextlib
import threading

import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError


def leaf():
    return tg.tensor([1.0, -2.0], requires_grad=True)


def test_scopes_nest_and_end_also_with_an_error():
    x = leaf()
    with tg.scope("outer") as outer:
        a = x * 2
        with contextlib.suppress(ZeroDivisionError), tg.scope("inner"):
            b = a * 2
            raise ZeroDivisionError
        c = b * 2
    d = c * 2
    assert [str(v.node.scope) for v in (a, b, c, d)] == ["outer", "outer/inner", "outer", "None"]
    assert a.node.scope is c.node.scope is b.node.scope.parent is outer


def test_every_entrance_is_another_repetition():
    @tg.scope("block")
    def block(x):
        return tg.tanh(x)

    x = leaf()
    first, second = block(x), block(x)
    assert first.node.scope is not second.node.scope
    assert str(first.node.scope) == str(second.node.scope) == "block"


def test_a_thread_has_its_own_scope():
    x, found = leaf(), []
    with tg.scope("here"):
        thread = threading.Thread(target=lambda: found.append((x * 2).node.scope))
        thread.start()
        thread.join()
    assert found == [None]


@pytest.mark.parametrize("name", ["", " ", 3, None])
def test_a_scope_has_a_name(name):
    with pytest.raises(ArgumentError, match="expected a name"), tg.scope(name):
        pass
