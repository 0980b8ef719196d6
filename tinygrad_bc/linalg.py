"""Linear algebra under the names of `torch.linalg`: ``tg.linalg.inv``, ``tg.linalg.norm`` ..."""

from tinygrad_bc.ops.linalg import cholesky as cholesky
from tinygrad_bc.ops.linalg import det as det
from tinygrad_bc.ops.linalg import inv as inv
from tinygrad_bc.ops.linalg import matmul as matmul
from tinygrad_bc.ops.linalg import slogdet as slogdet
from tinygrad_bc.ops.linalg import solve as solve
from tinygrad_bc.ops.linalg import svd as svd
from tinygrad_bc.ops.linalg import svdvals as svdvals
from tinygrad_bc.ops.norm import linalg_norm as norm
from tinygrad_bc.ops.norm import matrix_norm as matrix_norm
from tinygrad_bc.ops.norm import vector_norm as vector_norm

__all__ = [
    "cholesky",
    "det",
    "inv",
    "matmul",
    "matrix_norm",
    "norm",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "vector_norm",
]
