"""Keeps the libraries to one thread. To be imported before NumPy, whose BLAS reads its variable when it is loaded."""

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC", "PJRT_NPROC"):
    os.environ[_variable] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
os.environ["JAX_PLATFORMS"] = "cpu"


def keep_to_one_thread() -> None:
    """Keep those to one thread, too, that were loaded before the variables were set, as under pytest."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
