"""Every operation, each declared once: how it is computed, its derivative, its formula, and samples to test it on.

To add one, write a declaration in the module where it fits; `tinygrad_bc.primitive.primitive` describes
what goes into it. It is then ``tg.<name>``: recorded, differentiated to any order, drawn and tested.
"""

from typing import TYPE_CHECKING

from tinygrad_bc.ops.activation import *
from tinygrad_bc.ops.convolution import *
from tinygrad_bc.ops.einsum import *
from tinygrad_bc.ops.elementwise import *
from tinygrad_bc.ops.index import *
from tinygrad_bc.ops.linalg import *
from tinygrad_bc.ops.loss import *
from tinygrad_bc.ops.neural import *
from tinygrad_bc.ops.norm import *
from tinygrad_bc.ops.reduce import *
from tinygrad_bc.ops.shape import *
from tinygrad_bc.primitive import Composite, Primitive

if not TYPE_CHECKING:
    # The operations alone, without what their modules import to declare them.
    __all__ = sorted(name for name, thing in globals().items() if isinstance(thing, Primitive | Composite))

    def __dir__() -> list[str]:
        return __all__
