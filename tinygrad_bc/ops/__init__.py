"""Every operation, each declared once: how it is computed, its derivative, its formula, and samples to test it on.

To add one, write a declaration in the module where it fits; `tinygrad_bc.primitive.primitive` describes
what goes into it. It is then ``tg.<name>``: recorded, differentiated to any order, drawn and tested.
"""

from tinygrad_bc.ops.elementwise import *
from tinygrad_bc.ops.index import *
from tinygrad_bc.ops.linalg import *
from tinygrad_bc.ops.reduce import *
from tinygrad_bc.ops.shape import *
from tinygrad_bc.primitive import Primitive


def __dir__() -> list[str]:
    """List the operations alone, without what their modules import to declare them."""
    return sorted(
        name
        for name, thing in globals().items()
        if isinstance(thing, Primitive) or (callable(thing) and getattr(thing, "__module__", "").startswith(__name__))
    )
