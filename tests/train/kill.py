"""Kill a training at random instants, hundreds of times, and see that it ends as if nobody had.

    python tests/train/kill.py --kills 300

Each training is a process that is really killed (SIGKILL), started again, and killed again, until it comes to its end;
then the next one is begun. At every end weights, optimiser and history must be those of a training that was never
killed, bit for bit. About every tenth kill comes while the process is still starting; a checkpoint is written after
every batch, so that many of the others come while one is being written. That is counted, too.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

EPOCHS = 6
SECONDS = 0.3  # until a kill, at most: less than a training takes


def train(directory: Path) -> str:
    """Train with everything that has a state, and return a hash of all that comes out."""
    import numpy as np

    from tinygrad_bc import nn, optim
    from tinygrad_bc.data import DataLoader
    from tinygrad_bc.train import Checkpoint, EarlyStopping, GradientStatistics, Schedule, fit

    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 6))
    y = (X @ rng.normal(size=6) + rng.normal(size=150) > 0).astype(int)
    layers = np.random.default_rng(1)
    model = nn.Sequential(
        nn.Linear(6, 16, generator=layers),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.3, generator=layers),
        nn.Linear(16, 2, generator=layers),
    )
    # The loader shares its generator with the dropout of the model.
    loader = DataLoader(X[:100], y[:100], batch_size=12, shuffle=True, generator=layers, augment=[noise])
    held_out = DataLoader(X[100:], y[100:], batch_size=20, shuffle=True, generator=7)
    optimizer = optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-3)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=EPOCHS * len(loader))
    stopping, statistics = EarlyStopping(patience=EPOCHS), GradientStatistics()
    checkpoint = Checkpoint(directory, every_batches=1, keep=2, resume=True)
    callbacks = [checkpoint, Schedule(schedule, per="batch"), stopping, statistics]
    print("started", flush=True)
    history = fit(
        model, loader, nn.CrossEntropyLoss(), optimizer, epochs=EPOCHS, validation=held_out, callbacks=callbacks
    )  # fmt: skip

    digest = hashlib.sha256()
    for name, array in model.state_dict().items():
        digest.update(name.encode() + array.tobytes())
    for state in optimizer.state_dict()["state"].values():
        for value in state.values():
            digest.update(np.asarray(value).tobytes())
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history.rows]
    digest.update(repr((rows, statistics.rows, layers.bit_generator.state, stopping.best_epoch)).encode())
    return digest.hexdigest()


def noise(batch, generator):
    """Add noise to the inputs: an augmentation that draws from the loader's generator."""
    inputs, target = batch
    return inputs + 0.1 * generator.normal(size=inputs.shape), target


def start(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, "--train", str(directory)], stdout=subprocess.PIPE, text=True)


def end_of(process: subprocess.Popen[str]) -> str | None:
    """Return the hash that a process printed at its end; None if it did not come to that."""
    last = process.stdout.read().split()[-1:]
    if process.wait() > 0:
        raise SystemExit("the training failed; its error is above")
    return last[0] if last and last[0] != "started" else None


def torn(directory: Path) -> bool:
    """Return whether a checkpoint was being written when the process died."""
    files = list(directory.iterdir()) if directory.is_dir() else []
    pairs = Counter(file.stem for file in files)
    return any(file.suffix == ".tmp" for file in files) or any(count == 1 for count in pairs.values())


def kill_many(kills: int, seed: int, root: Path) -> Counter[str]:
    """Kill trainings until there were `kills`, all of them ended since, and return how often what happened."""
    reference = end_of(start(root / "never killed"))
    print(f"never killed: {reference}", flush=True)
    counts: Counter[str] = Counter()
    draw = random.Random(seed)
    while counts["kills"] < kills or counts["in this training"]:
        directory = root / f"training {counts['trainings']}"
        process = start(directory)
        early = draw.random() < 0.1
        if not early:
            process.stdout.readline()  # "started"
        enough = counts["kills"] >= kills
        if not enough:
            time.sleep(draw.uniform(0, SECONDS))
            process.kill()
        result = end_of(process)
        if result is None:
            counts["kills"] += 1
            counts["in this training"] += 1
            counts["while starting"] += early
            counts["while a checkpoint was being written"] += torn(directory)
            continue
        if result != reference:
            raise SystemExit(f"WRONG: after {counts['in this training']} kills it ended with {result}")
        counts["trainings"] += 1
        counts["most kills of one training"] = max(counts["most kills of one training"], counts["in this training"])
        counts["in this training"] = 0
        shutil.rmtree(directory)
        if counts["trainings"] % 5 == 0:
            print(f"{counts['kills']} kills, {counts['trainings']} trainings ended, all alike", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=Path, help="be the process that is killed, with checkpoints in this directory")
    arguments = parser.parse_args()
    if arguments.train is not None:
        print(train(arguments.train))
        return
    with tempfile.TemporaryDirectory() as root:
        counts = kill_many(arguments.kills, arguments.seed, Path(root))
    print(
        f"{counts['kills']} kills: {counts['while starting']} while starting, "
        f"{counts['while a checkpoint was being written']} while a checkpoint was being written; at most "
        f"{counts['most kills of one training']} in one training\n"
        f"{counts['trainings']} trainings came to their end, each bit-identical to the one never killed"
    )


if __name__ == "__main__":
    main()
