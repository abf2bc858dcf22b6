"""Engines of TensorRT on disk: built once a graph, GPU, TensorRT, precision and profile, and judged once.

    FAMILY-ONNX-PRECISION.engine   what TensorRT made; it is code that runs on the GPU
    FAMILY-ONNX-PRECISION.json     what it was made of, its SHA-256, and how it compared with onnxruntime

A family is a graph of a bundle by their names ("stager-epoch"), ONNX the first digits of that graph's SHA-256. So each
content has a place of its own, and what else differs replaces what is there.

An engine is trusted as a program is, so the folder is the user's own, closed to others; one that others can write
to is refused. What does not match its manifest byte by byte is never loaded.
"""

import hashlib
import logging
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.parity import Parity
from hypnostream.engine.tensorrt_build import Profile
from hypnostream.engine.tensorrt_device import Precision, TensorRtError

_logger = logging.getLogger("hypnostream.tensorrt")

LARGEST_ENGINE_BYTES = 2 << 30
LARGEST_MANIFEST_BYTES = 1 << 20
_DIGITS = {"onnx": 12, "graph": 12}  # of a hash, for people


class EngineKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that an engine depends on. `onnx` is the SHA-256 of the bundle's graph, `graph` that of the one that was made
    of it for TensorRT."""

    onnx: str
    graph: str
    tensorrt: str
    gpu: str
    compute_capability: str
    precision: Precision
    profile: Profile

    def lacks(self, wanted: "EngineKey") -> str:
        """Why an engine of this key does not serve where `wanted` is asked for, "" when it does, as with more room."""
        differing = [
            f"{field} was {was[: _DIGITS.get(field)]}, is {now[: _DIGITS.get(field)]}"
            for field in self.__struct_fields__
            if field != "profile" and (was := getattr(self, field)) != (now := getattr(wanted, field))
        ]
        if self.profile.most < wanted.profile.most:
            differing.append(f"profile.most was {self.profile.most}, is {wanted.profile.most}")
        if self.profile.least > wanted.profile.least:
            differing.append(f"profile.least was {self.profile.least}, is {wanted.profile.least}")
        return "; ".join(differing)


class EngineManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept beside an engine. `refused` is why it may not be used, "" when it may."""

    key: EngineKey
    sha256: str
    parity: Parity
    refused: str


class StoredEngine(NamedTuple):
    """An engine as it was read or built."""

    plan: bytes
    manifest: EngineManifest


def cache_folder() -> Path:
    """Where this user's engines are: below XDG_CACHE_HOME, or ~/.cache."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "hypnostream" / "engines"


def engine_name(family: str, key: EngineKey) -> str:
    """The names of an engine's two files, without their ends."""
    return f"{family}-{key.onnx[:16]}-{key.precision}"


def engine_of(
    folder: Path,
    family: str,
    key: EngineKey,
    build: Callable[[], bytes],
    judge: Callable[[bytes], tuple[Parity, str]],
) -> StoredEngine:
    """The engine of `family` for `key`: the stored one, else what `build` makes, judged and stored.

    `judge` says how an engine compares and why it may not be used ("": it may). The log says why an engine is built.
    Raises TensorRtError when the folder is not this user's own, or the disk does not take it.
    """
    _make_own(folder)
    stored, why = read_engine(folder, family, key)
    if stored is not None:
        return stored
    name = engine_name(family, key)
    _logger.info("building the engine %s, which takes minutes: %s", name, why)
    plan = build()
    parity, refused = judge(plan)
    manifest = EngineManifest(key, hashlib.sha256(plan).hexdigest(), parity, refused)
    try:
        write_atomically(folder / f"{name}.engine", plan)
        write_atomically(folder / f"{name}.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    except OSError as error:
        raise TensorRtError(f"{folder} does not take an engine: {error.strerror or error}") from error
    _logger.info("built the engine %s: %s", name, refused or "as onnxruntime says")
    return StoredEngine(plan, manifest)


def read_engine(folder: Path, family: str, key: EngineKey) -> tuple[StoredEngine | None, str]:
    """The stored engine, or why there is none that fits. `folder` must be this user's own."""
    name = engine_name(family, key)
    try:
        manifest = _manifest(folder / f"{name}.json")
    except FileNotFoundError:
        return None, _none_yet(folder, family, key)
    except _UNREADABLE as error:
        return None, f"its manifest cannot be read ({error})"
    if why := manifest.key.lacks(key):
        return None, why
    try:
        plan = read_bounded(folder / f"{name}.engine", LARGEST_ENGINE_BYTES)
    except OSError as error:
        return None, f"its file cannot be read ({error.strerror})"
    if hashlib.sha256(plan).hexdigest() != manifest.sha256:
        return None, "its file is not the one that its manifest is of"
    return StoredEngine(plan, manifest), ""


_UNREADABLE = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def _manifest(path: Path) -> EngineManifest:
    """Raises one of `_UNREADABLE`."""
    return msgspec.json.decode(read_bounded(path, LARGEST_MANIFEST_BYTES), type=EngineManifest)


def _none_yet(folder: Path, family: str, key: EngineKey) -> str:
    """In what the newest engine of the same family is another, as after its bundle was trained again."""
    of_family = re.compile(re.escape(family) + r"-[0-9a-f]{16}-fp\d+\.json")
    newest: tuple[float, EngineKey] | None = None
    for path in folder.glob("*.json"):
        try:
            if of_family.fullmatch(path.name) and (newest is None or path.stat().st_mtime > newest[0]):
                newest = path.stat().st_mtime, _manifest(path).key
        except _UNREADABLE:  # one that is of no use here
            continue
    if newest is None:
        return "there is none yet"
    return f"there is none for it yet, and the newest of {family} is another: {newest[1].lacks(key)}"


def _make_own(folder: Path) -> None:
    """The folder is there, this user's, and closed to all others."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise TensorRtError(f"{folder} cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise TensorRtError(f"{folder} is no folder of this user's own, so no engine is loaded from it; remove it")
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077):
        raise TensorRtError(
            f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):o}), so no engine is loaded from it; "
            f"`chmod 700` it, or remove it"
        )
