"""The folder of a training run: what it was made of, its curves, and a checkpoint that a killed run goes on from.

run.json                what was asked for, of which data, and each start: code, versions, machine
curves.csv, curves.png  the mean of each loss in each pass
checkpoint.safetensors  everything to go on from, as of a few seconds ago (see checkpoint.py)
weights.safetensors     the module's, averaged; there when the run is done
"""

import json
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

import hypnostream
from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.bench import machine
from hypnostream.errors import UserError
from hypnostream.training.running.distributed import first, share
from hypnostream.training.running.loop import LoopSettings, Task, train

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
SAVE_EVERY_S = 30.0


class Run:
    """A folder in which one task is trained. Opening it writes down what is asked for; `train` begins or goes on.

    `config` is the dataclass of all settings, `data` the SHA-256 (or another fingerprint) of each recording by name.
    Raises UserError when the folder holds a run with other settings or data; a setting that the run was begun without
    has its default there. The task's module must begin the same on each start: make it after `torch.manual_seed(seed)`.

    Under torchrun every process opens the run; only the first one writes.
    """

    def __init__(self, folder: Path, config: object, data: Mapping[str, str], save_every_s: float = SAVE_EVERY_S):
        self.folder = folder
        self._save_every_s = save_every_s
        self._config = config
        self._asked = {"config": msgspec.to_builtins(config), "data": dict(data)}
        if first():
            folder.mkdir(parents=True, exist_ok=True)
            self._open()

    @property
    def weights(self) -> Path:
        """Where the trained weights are."""
        return self.folder / WEIGHTS

    def train(
        self,
        task: Task,
        settings: LoopSettings,
        progress: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
    ) -> list[dict[str, float]]:
        """As `loop.train`, with the passes of earlier starts in front. A finished run is read, not done again."""
        from safetensors.torch import save

        from hypnostream.training.running.checkpoint import TrainingState, written
        from hypnostream.training.running.curves import write_curves, write_picture

        mine = share(settings.device)
        file = self.folder / CHECKPOINT
        saved_s = time.monotonic()

        def after_round(state: TrainingState) -> None:
            nonlocal saved_s
            finished = state.place.pass_index == settings.passes
            if mine.rank > 0 or (time.monotonic() - saved_s < self._save_every_s and not finished):
                return
            write_atomically(file, written(state))
            write_curves(self.folder / "curves.csv", state.place.curves)
            saved_s = time.monotonic()

        checkpoint = file.read_bytes() if file.exists() and mine.rank == 0 else None
        curves = train(task, settings, progress, mine, checkpoint, after_round)
        if mine.rank == 0:
            tensors = {name: value.detach().cpu().clone() for name, value in task.module.state_dict().items()}
            write_atomically(self.weights, save(tensors))
            write_curves(self.folder / "curves.csv", curves)
            write_picture(self.folder / "curves.png", curves, self.folder.name)
        return curves

    def _open(self) -> None:
        path = self.folder / "run.json"
        starts: list[dict[str, Any]] = []
        if path.exists():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
                asked, starts = {key: before[key] for key in self._asked}, list(before["starts"])
                asked["config"] = completed(asked["config"], type(self._config))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(f"{path} is not the record of a run; choose another folder") from error
            # As JSON gives them back: a tuple is a list there.
            unlike = differences(asked, json.loads(json.dumps(self._asked)))
            if unlike:
                raise UserError(
                    f"{self.folder} holds a run with other settings or data ({'; '.join(unlike[:5])}); choose another "
                    "folder, or remove this one"
                )
        for part in self.folder.glob(".*.part"):  # what was being written when a start was killed
            part.unlink()
        record = {**self._asked, "starts": [*starts, start()]}
        write_atomically(path, json.dumps(record, indent=2).encode())


def completed(recorded: Any, kind: type[Any]) -> Any:
    """Settings as they were recorded, with those that came since at their defaults: what the run was made by."""
    try:
        return _filled(recorded, msgspec.to_builtins(msgspec.convert(recorded, kind)))
    except (msgspec.ValidationError, UserError):  # they are of another kind: what differs is said
        return recorded


def _filled(recorded: Any, whole: Any) -> Any:
    if isinstance(recorded, dict) and isinstance(whole, dict):
        return whole | {key: _filled(value, whole.get(key)) for key, value in recorded.items()}
    if isinstance(recorded, list) and isinstance(whole, list | tuple):
        return [_filled(*pair) for pair in zip(recorded, whole, strict=True)]
    return recorded


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What of two JSON values is not the same, each with its dotted name."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [f"{name} was {json.dumps(before)} and is {json.dumps(now)}"]
    found = []
    for key in before | now:
        inner = f"{name}.{key}" if name else str(key)
        if key not in before:
            found.append(f"{inner} is new")
        elif key not in now:
            found.append(f"{inner} is gone")
        else:
            found += differences(before[key], now[key], inner)
    return found


def start() -> dict[str, Any]:
    """What works here, now: the code and whether it was changed since, versions, machine."""
    import torch

    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git("rev-parse HEAD") or "unknown",
        "changed_since": bool(git("status --porcelain --untracked-files=no")),
        "versions": {"hypnostream": hypnostream.__version__, "python": platform.python_version(), **_versions()},
        "threads": torch.get_num_threads(),
        **machine(),
    }


def git(question: str) -> str:
    """What git says of the folder that this package is in; nothing where there is no git."""
    command = ["git", "-C", str(Path(hypnostream.__file__).parent), *question.split()]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return asked.stdout.strip()


def _versions() -> dict[str, str]:
    found = {}
    for package in ("torch", "numpy", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
