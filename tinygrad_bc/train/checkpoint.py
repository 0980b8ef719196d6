"""Checkpoints: all that a killed training needs to go on to the very same bits.

A checkpoint is a pair of files, ``000012-000340.safetensors`` with the arrays and ``000012-000340.json`` with the
rest, named by the epochs that have ended and the batches of the next one. There is no pickle in it, so reading one runs
no code. The JSON file is written last: a pair without it does not exist. It holds the SHA-256 of the arrays' file and
of its own content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.errors import ArgumentError, DataError, MissingDependencyError, TinygradError
from tinygrad_bc.train.callbacks import Callback
from tinygrad_bc.train.state import generators, restore_generators

if TYPE_CHECKING:
    from tinygrad_bc.train.run import Run

__all__ = ["Checkpoint", "CheckpointError", "CheckpointWarning", "load", "read", "save"]

FORMAT = 1

_NAME = re.compile(r"\d{6,}-\d{6,}")
_ARRAY, _TUPLE, _ITEMS = "$array", "$tuple", "$items"


class CheckpointError(DataError):
    """A checkpoint is incomplete, damaged, or of another training."""


class CheckpointWarning(UserWarning):
    """A checkpoint was passed over, or continues a training in other surroundings."""


# --- files -----------------------------------------------------------------------------------------


def save(directory: Path, name: str, state: Mapping[str, Any], keep: int) -> None:
    """Write a checkpoint; at every instant, also of a crash, what was complete before is so still.

    Parameters
    ----------
    directory
        Where; it is made if it is not there.
    name
        Of the pair of files, without suffix; later ones sort after earlier ones.
    state
        Numbers, texts, None, arrays and NumPy numbers, in dictionaries, lists and tuples.
    keep
        How many to keep: the newest up to this one. Those after it, of a training that went on from an earlier one
        because they were damaged, are removed.
    """
    from safetensors.numpy import save as to_bytes

    directory.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    content = _separated(state, arrays, "")
    tensors = to_bytes(arrays)
    text = json.dumps({"format": FORMAT, "tensors": hashlib.sha256(tensors).hexdigest(), "state": content})
    _write(directory / f"{name}.safetensors", tensors)
    _write(directory / f"{name}.json", f'{{"sha256": "{_hash(text)}",\n"content": {text}}}\n'.encode())
    kept = [old for old in names(directory) if old <= name][-keep:]
    # JSON files first: what is left of a pair when that is interrupted must not look like one.
    for file in sorted(directory.iterdir(), key=lambda file: file.suffix != ".json"):
        if _is_ours(file) and file.stem not in kept:
            file.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all, and stays there if the power fails."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _is_ours(file: Path) -> bool:
    return bool(_NAME.fullmatch(file.name.split(".")[0])) and file.suffix in (".json", ".safetensors", ".tmp")


def names(directory: Path) -> list[str]:
    """Return the names of the checkpoints in a directory, the newest last."""
    return sorted(file.stem for file in directory.glob("*.json") if _NAME.fullmatch(file.stem))


def read(directory: Path, name: str) -> dict[str, Any]:
    """Return the state in one checkpoint.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated, or not what was written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    path = directory / f"{name}.json"
    try:
        whole = json.loads(path.read_bytes())
        content = whole["content"]
        if _hash(json.dumps(content)) != whole["sha256"]:
            raise CheckpointError(f"{path} is not what was written: its content does not have the hash that it names")
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {content['format']}; this version reads {FORMAT}")
        tensors = path.with_suffix(".safetensors").read_bytes()
        if hashlib.sha256(tensors).hexdigest() != content["tensors"]:
            raise CheckpointError(
                f"{path.with_suffix('.safetensors')} is not what was written with {path.name}: it has {len(tensors)} "
                "bytes of another hash. It is truncated, damaged, or of another checkpoint"
            )
        state: dict[str, Any] = _joined(content["state"], from_bytes(tensors))
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename} is missing: both files of a checkpoint are needed") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read, it is truncated or damaged: {error!r}") from None
    return state


def load(directory: Path) -> tuple[str, dict[str, Any]] | None:
    """Return name and state of the newest checkpoint that is sound; None if there is none at all.

    Warns
    -----
    CheckpointWarning
        Of each that is not, for the one before it is used then.

    Raises
    ------
    CheckpointError
        If there are some, but none is sound.
    """
    problems = []
    for name in reversed(names(directory)):
        try:
            state = read(directory, name)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"{problem}. Going on from {name}", CheckpointWarning, stacklevel=2)
        return name, state
    if problems:
        raise CheckpointError(
            f"no checkpoint in {directory} is sound; to begin anew, remove them:\n  " + "\n  ".join(problems)
        )
    return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _separated(thing: Any, arrays: dict[str, np.ndarray[Any, Any]], path: str) -> Any:
    """Return `thing` as JSON can hold it; its arrays are put into `arrays`, and in their place their names."""
    if isinstance(thing, np.ndarray | np.generic):
        name = path if path not in arrays else f"{path} ({len(arrays)})"
        arrays[name] = np.array(thing, order="C")  # safetensors would write the memory as it lies
        return {_ARRAY: name, "number": isinstance(thing, np.generic)}
    if isinstance(thing, Mapping):
        parts = [(key, _separated(part, arrays, f"{path}.{key}".lstrip("."))) for key, part in thing.items()]
        simple = all(isinstance(key, str) and not key.startswith("$") for key in thing)
        return dict(parts) if simple else {_ITEMS: [[_separated(key, arrays, path), part] for key, part in parts]}
    if isinstance(thing, list | tuple):
        items = [_separated(part, arrays, f"{path}.{i}") for i, part in enumerate(thing)]
        return items if isinstance(thing, list) else {_TUPLE: items}
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    raise ArgumentError(
        f"{path}: a state to be saved may hold numbers, texts, None and arrays, in dictionaries, lists and tuples; got "
        f"{thing!r} of type {type(thing).__name__}. Leave it out in state_dict(), and make it anew when the training "
        "goes on"
    )


def _joined(thing: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Undo `_separated`."""
    if isinstance(thing, list):
        return [_joined(part, arrays) for part in thing]
    if not isinstance(thing, dict):
        return thing
    if _ARRAY in thing:
        array = arrays[thing[_ARRAY]]
        return array[()] if thing["number"] else array
    if _TUPLE in thing:
        return tuple(_joined(part, arrays) for part in thing[_TUPLE])
    if _ITEMS in thing:
        return {_joined(key, arrays): _joined(part, arrays) for key, part in thing[_ITEMS]}
    return {key: _joined(part, arrays) for key, part in thing.items()}


# --- a training ------------------------------------------------------------------------------------


class Checkpoint(Callback):
    """Write a checkpoint after every epoch, and go on from the last one.

    A training that is killed at any instant, and started again by the same program with ``resume=True``, ends with the
    same weights and losses, bit for bit, as one that was never killed (on the same machine, with the same versions).
    Saved are the states of the model, the optimiser, the loader with its position in the epoch, the other
    callbacks, the history, and of every random generator that `tinygrad_bc.train.state.generators` finds in all of
    them.

    Parameters
    ----------
    directory : path
        Where; it is made if it is not there. A training has one of its own.
    every_batches : int, optional
        After how many batches in an epoch to write one as well.
    keep : int
        How many of the newest to keep. With more than one, there is another if the newest is damaged.
    resume : bool
        Whether to go on from what is in the directory, if there is something. If not, it must be empty.

    Raises
    ------
    ArgumentError
        If `every_batches` or `keep` is less than 1, or something in a state cannot be saved.
    CheckpointError
        At the start of training: if there are checkpoints and `resume` is False, none of them is sound, or they
        are of another training (model, optimiser, data, callbacks). Nothing is changed then.
    MissingDependencyError
        If safetensors is not installed.

    Warns
    -----
    CheckpointWarning
        Of damaged checkpoints, for the one before is used then; and of other versions than those it was begun with.
    """

    last = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        every_batches: int | None = None,
        keep: int = 3,
        resume: bool = False,
    ) -> None:
        try:
            import safetensors  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError('Checkpoint needs safetensors: pip install "tinygrad_bc[train]"') from error
        if keep < 1 or (every_batches is not None and every_batches < 1):
            raise ArgumentError(f"Checkpoint: keep={keep}, every_batches={every_batches}: both must be 1 or more")
        self.directory = Path(directory)
        self.every_batches = every_batches
        self.keep = keep
        self.resume = resume

    def on_train_begin(self, run: Run) -> None:
        """Go on from the last checkpoint, if there is one."""
        if not self.resume and self.directory.is_dir() and names(self.directory):
            raise CheckpointError(
                f"there are checkpoints in {self.directory} already. To go on from them, say Checkpoint(..., "
                "resume=True); for a new training, choose another directory or remove them"
            )
        found = load(self.directory) if self.resume else None
        if found is not None:
            name, state = found
            try:
                restore(run, state)
            except (TinygradError, KeyError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"{self.directory / name}.json is of another training than this one: {error}"
                ) from error

    def on_batch_end(self, run: Run) -> None:
        """Write one, if it is time."""
        if self.every_batches is not None and run.batch % self.every_batches == 0:
            self._save(run)

    def on_epoch_end(self, run: Run) -> None:
        """Write one."""
        self._save(run)

    def _save(self, run: Run) -> None:
        save(self.directory, f"{run.epoch:06d}-{run.batch:06d}", snapshot(run), self.keep)


_PROGRESS = ("epoch", "batch", "total", "rows", "batch_loss", "lr", "stopped")


def snapshot(run: Run) -> dict[str, Any]:
    """Return all that is needed to go on with a run."""
    return {
        "parts": {name: part.state_dict() for name, part in _parts(run)},
        "generators": {path: one.bit_generator.state for path, one in _generators(run).items()},
        "progress": {name: getattr(run, name) for name in _PROGRESS},
        "history": {"rows": run.history.rows, "info": run.history.info},
    }


def restore(run: Run, state: Mapping[str, Any]) -> None:
    """Put a run where another one was; if that fails, nothing is changed."""
    info, begun = run.history.info, state["history"]["info"]
    for name in ("data", "validation"):
        if info[name] != begun[name]:
            raise CheckpointError(f"the numbers in {name} are not those that it began with")
    parts, random = dict(_parts(run)), _generators(run)
    _same("parts", parts, state["parts"])
    _same("random generators", random, state["generators"])
    before = snapshot(run)
    try:
        _put(run, state)
    except Exception:
        _put(run, before)
        raise
    for name in ("tinygrad_bc", "numpy", "python"):
        if info[name] != begun[name]:
            warnings.warn(
                f"begun with {name} {begun[name]}, this training goes on with {info[name]}: other bits may come out",
                CheckpointWarning,
                stacklevel=2,
            )


def _put(run: Run, state: Mapping[str, Any]) -> None:
    for name, part in _parts(run):
        part.load_state_dict(state["parts"][name])
    restore_generators(_generators(run), state["generators"])
    for name in _PROGRESS:
        setattr(run, name, state["progress"][name])
    run.history.rows[:] = state["history"]["rows"]
    run.history.info = dict(state["history"]["info"])


def _same(what: str, own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    if own.keys() != saved.keys():
        missing, unknown = sorted(own.keys() - saved.keys()), sorted(saved.keys() - own.keys())
        raise CheckpointError(f"its {what} are others: it lacks {missing}, and this training lacks {unknown}")


def _parts(run: Run) -> Iterator[tuple[str, Any]]:
    """Iterate over the parts of a run that have a state, by name."""
    # Not the validation: it is never interrupted half-way, and its generator is among the generators.
    named = {"model": run.model, "loss": run.loss, "data": run.data}
    # One that keeps no state, a progress bar, may be left out when a training goes on.
    keeping = [one for one in run.callbacks if type(one).state_dict is not Callback.state_dict]
    named |= {f"callback {number}, {type(one).__name__}": one for number, one in enumerate(keeping)}
    named["optimizer"] = run.optimizer  # after the schedules: what learning rates it had is what it gets
    return ((name, part) for name, part in named.items() if hasattr(part, "load_state_dict"))


def _generators(run: Run) -> dict[str, np.random.Generator]:
    return generators(
        model=run.model,
        data=run.data,
        validation=run.validation,
        loss=run.loss,
        optimizer=run.optimizer,
        callbacks=list(run.callbacks),
        metrics=dict(run.metrics),
    )
