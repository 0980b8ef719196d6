"""The workloads, by the names that they have on the command line."""

from measure import Workload

from workloads import chain, convolution, eager, mlp, transformer, tutorial

WORKLOADS: dict[str, Workload] = {
    "tutorial": tutorial.WORKLOAD,
    "eager": eager.WORKLOAD,
    "mlp-sgd": mlp.workload("SGD"),
    "mlp-adam": mlp.workload("Adam"),
    "ops": chain.workload(300),
    "deep": chain.workload(100_000),
    "convolution": convolution.WORKLOAD,
    "transformer": transformer.WORKLOAD,
}
