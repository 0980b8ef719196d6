"""Break every backward rule in every way that a person might, and see whether the tests notice.

    python tests/mutations/mutate.py

tries all mutants, in two processes; with ``--sample 100 --seed 1`` a random hundred; with ``--ops sigmoid,matmul``
those of some operations. It prints, per operation, how many mutants there are, how many the tests kill, how many are
equivalent: the same as the right rule wherever it was looked at; then every survivor. For every killed mutant the
checker is asked which operation is wrong, in a graph in which it is one among others. The exit status is 1 if a mutant
survives, or the checker names the right operation for less than 95% of them.
"""

from __future__ import annotations

import argparse
import collections
import functools
import itertools
import math
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this one, also when it is imported by a test

import blame
import equivalence
import suite
from mutants import Installed, Mutant, mutants

from tinygrad_bc.primitive import REGISTRY, Primitive

KILLED, EQUIVALENT, SURVIVED, INAPPLICABLE = "killed", "equivalent", "survived", "inapplicable"
JUDGED = KILLED, EQUIVALENT, SURVIVED
PENDING = "pending"
UNREACHED = "unreached"  # in a helper, and this rule never gets there: a matter for the rules that do

WANTED_BLAME = 0.95


class Result(NamedTuple):
    """What became of one mutant: the verdict, what it rests on, and what the checker said."""

    op: str
    kind: str
    mutant: str
    verdict: str
    why: str
    blamed: str = ""  # an empty string: not asked
    number: int = 0


@functools.cache
def _mutants(name: str) -> list[Mutant]:
    return list(mutants(REGISTRY[name]))


def differentiable() -> list[Primitive]:
    """Return the operations that have backward rules."""
    return [op for op in REGISTRY.values() if op.differentiable]


Job = tuple[str, int]  # the name of an operation and the number of a mutant


def examine(job: Job) -> Result:
    """Try the operation's own tests on one mutant; what they do not notice and is a mistake stays `PENDING`."""
    name, number = job
    mutant = _mutants(name)[number]
    cases = suite.own_cases(mutant.op)  # chosen before the rule is wrong
    mutant.reached.yes = False
    with Installed(mutant):
        failed = suite.first_failure(cases)
    if failed:
        return _result(job, KILLED, ": ".join(failed))
    differs = equivalence.where_different(mutant)
    if mutant.reached.yes and not differs and (reason := equivalence.reason(mutant)):
        return _result(job, EQUIVALENT, reason)
    return _result(job, PENDING, "")


def examine_further(job: Job) -> Result:
    """Try all other tests on one mutant."""
    name, number = job
    mutant = _mutants(name)[number]
    mutant.reached.yes = False
    with Installed(mutant):
        failed = suite.first_failure_elsewhere(mutant.op)
    if failed:
        return _result(job, KILLED, ": ".join(failed))
    differs = equivalence.where_different(mutant)
    if differs:
        return _result(job, SURVIVED, f"another {differs[1]} derivative on {differs[0]}: {differs[2]}")
    if mutant.reached.yes and (reason := equivalence.reason(mutant)):
        return _result(job, EQUIVALENT, reason)
    if mutant.reached.yes:
        return _result(job, SURVIVED, "no sample shows it, and it is a mistake")
    if mutant.from_source:
        return _result(job, UNREACHED if mutant.in_helper else SURVIVED, "not reached by any test")
    return _result(job, INAPPLICABLE, "")


def _result(job: Job, verdict: str, why: str) -> Result:
    name, number = job
    mutant = _mutants(name)[number]
    blamed = blame.verdict(mutant, number) if verdict == KILLED else ""
    return Result(name, mutant.kind, str(mutant), verdict, why, blamed, number)


def drawn(ops: Sequence[Primitive], count: int, seed: int) -> list[Job]:
    """Return `count` different mutants: operations are drawn evenly, then one of the operation's mutants."""
    rng = np.random.default_rng(seed)
    jobs: dict[Job, None] = {}
    while len(jobs) < count:
        name = ops[rng.integers(len(ops))].name
        jobs[name, int(rng.integers(len(_mutants(name))))] = None
    return sorted(jobs)


def run(jobs: Sequence[Job]) -> list[Result]:
    """Examine mutants in two processes."""
    processes = multiprocessing.get_context("fork")
    with processes.Pool(2) as pool:
        results = pool.map(examine, jobs, chunksize=16)
    pending = [(r.op, r.number) for r in results if r.verdict == PENDING]
    if pending:
        suite.prepare_further_tests()
        with processes.Pool(2) as pool:
            results = [r for r in results if r.verdict != PENDING] + pool.map(examine_further, pending, chunksize=2)
    return results


def settled(results: Sequence[Result]) -> list[Result]:
    """Return the results of all mutants with those of helpers settled: a change that no rule gets to has survived."""
    tried = {_change(r) for r in results if r.verdict not in (UNREACHED, INAPPLICABLE)}
    return [r._replace(verdict=SURVIVED) if r.verdict == UNREACHED and _change(r) not in tried else r for r in results]


def _change(result: Result) -> str:
    """Return the description of a mutant without the operation and its input."""
    return result.mutant.partition(": ")[2]


# --- the report ----------------------------------------------------------------------------------


def table(results: Sequence[Result]) -> str:
    """Return the counts per operation."""
    lines = [f"{'operation':<34}{'mutants':>8}{'killed':>8}{'equivalent':>12}{'survived':>10}{'blamed':>8}"]
    by_op = itertools.groupby(sorted(results), key=lambda r: r.op)
    for name, group in [*((name, list(group)) for name, group in by_op), ("all", list(results))]:
        counts = collections.Counter(r.verdict for r in group)
        asked = [r for r in group if r.blamed]
        named = sum(r.blamed == blame.NAMED for r in asked)
        lines.append(
            f"{name:<34}{sum(counts[v] for v in JUDGED):>8}{counts[KILLED]:>8}{counts[EQUIVALENT]:>12}"
            f"{counts[SURVIVED]:>10}{f'{named / len(asked):.0%}' if asked else '':>8}"
        )
    return "\n".join(lines)


def summary(results: Sequence[Result], verbose: bool) -> str:
    """Return what else is to be said: survivors, equivalent mutants by reason, and where the checker was wrong."""
    lines = []
    survivors = [r for r in results if r.verdict == SURVIVED]
    lines += [f"\n{len(survivors)} mutants survived:"] if survivors else ["\nno mutant survived"]
    lines += [f"  {r.mutant}\n      {r.why}" for r in survivors]
    unreached = [r for r in results if r.verdict == UNREACHED]
    lines.append(f"\n{len(unreached)} more are in helpers, at places that this rule does not get to and others may")
    if verbose:
        lines += [f"  {r.mutant}" for r in unreached]
    equivalent = [r for r in results if r.verdict == EQUIVALENT]
    reasons = collections.Counter(r.why for r in equivalent)
    lines.append(f"\n{len(equivalent)} mutants are equivalent:")
    lines += [f"  {count:>5}  {why}" for why, count in reasons.most_common()]
    if verbose:
        lines += [f"  {r.mutant}" for r in equivalent]
    killers = collections.Counter(_noticed_by(r.why) for r in results if r.verdict == KILLED)
    lines.append("\nwhat noticed the killed ones first:")
    lines += [f"  {count:>5}  {test}" for test, count in killers.most_common(None if verbose else 12)]
    asked = [r for r in results if r.blamed]
    wrong = [r for r in asked if r.blamed != blame.NAMED]
    if asked:
        lines.append(f"\nthe checker named the right operation for {1 - len(wrong) / len(asked):.2%} of {len(asked)}")
        lines += [f"  {r.mutant}\n      {r.blamed}\n      noticed by {r.why}" for r in wrong]
    return "\n".join(lines)


def _noticed_by(why: str) -> str:
    """Return the property, or the test, that failed."""
    test, _, rest = why.partition("]")
    return test.rpartition(": ")[2] if rest.startswith(": ") and ": " in test else why.partition(": ")[0]


def passed(results: Sequence[Result], complete: bool) -> bool:
    """Return whether no mutant survived and blame was right often enough; of a sample, within what chance may do."""
    asked = [r for r in results if r.blamed]
    named = sum(r.blamed == blame.NAMED for r in asked)
    slack = 0 if complete else 2 * math.sqrt(WANTED_BLAME * (1 - WANTED_BLAME) * len(asked))  # two standard deviations
    return all(r.verdict != SURVIVED for r in results) and named >= WANTED_BLAME * len(asked) - slack


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, help="try so many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument("--ops", help="names of operations, separated by commas")
    parser.add_argument("-v", "--verbose", action="store_true", help="list the equivalent mutants too")
    options = parser.parse_args()
    started = time.perf_counter()
    ops = [REGISTRY[name] for name in options.ops.split(",")] if options.ops else differentiable()
    if options.sample:
        jobs = drawn(ops, options.sample, options.seed)
    else:
        jobs = [(op.name, i) for op in ops for i in range(len(_mutants(op.name)))]
    results = run(jobs)
    complete = not options.sample and not options.ops
    if complete:
        results = settled(results)
    print(table(results))
    print(summary(results, options.verbose))
    print(f"\n{len(results)} mutants in {time.perf_counter() - started:.0f} s")
    return 0 if passed(results, complete) else 1


if __name__ == "__main__":
    sys.exit(main())
