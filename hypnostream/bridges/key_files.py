"""Keys on disk: `NAME.secret` and `NAME.public`, and beside a bed's own the folder `allowed` with who may listen to it.

A key file is one line: "curve-public" or "curve-secret", a space, and the 40 letters (Z85) that every ZeroMQ library
takes as a key. The word is there because the letters of a secret look like those of a public key, and the one that is
mistaken for the other has been given away. Not the certificates of czmq: those hold what is asked of no one here, and
both keys in one file. Whoever may write in the folder decides who may listen.
"""

import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError

SERVER = "server"
ALLOWED = "allowed"
MOST_ALLOWED = 1000
LARGEST_BYTES = 200

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_LINE = re.compile(rb"curve-(public|secret) ([0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40})\r?\n?")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Who may listen: names by public key (Z85). `problems` says in a line each what in the folder was left out."""

    names: dict[bytes, str]
    problems: tuple[str, ...] = ()


def new_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a pair of keys, `folder`/NAME.secret and NAME.public; for "server" also the folder of those it allows.

    Raises UserError where there are such files already: a key that is replaced shuts out everyone who knew it.
    """
    _check_name(name)
    secret_path, public_path = folder / f"{name}.secret", folder / f"{name}.public"
    for path in (secret_path, public_path):
        if path.exists():
            raise UserError(f"{path} exists; take another name, or remove both files of {name!r} first")
    public, secret = zmq.curve_keypair()
    try:
        (folder / ALLOWED if name == SERVER else folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(secret_path, b"curve-secret " + secret + b"\n", 0o600)
        _write_new(public_path, b"curve-public " + public + b"\n", 0o644)
    except OSError as error:
        raise UserError(f"cannot write keys in {folder}: {error.strerror}; choose another with --folder") from error
    return secret_path, public_path


def allow(folder: Path, public_file: Path, name: str | None = None) -> Path:
    """Put a public key on the allow-list of `folder`, as NAME (default: the file's own). Once more does no harm.

    Raises UserError for what is no public key, and for a name or a key that is on the list with another of the two.
    """
    name = public_file.stem if name is None else name
    _check_name(name)
    key = read_public(public_file)
    path = _allowed_folder(folder) / f"{name}.public"
    known = read_allowed(folder).names
    if known.get(key, name) != name:
        raise UserError(f"the key in {public_file} is allowed already, as {known[key]!r}")
    if path.exists() and known.get(key) != name:
        raise UserError(f"{path} holds another key; choose another --name, or remove {name!r} first")
    if len(known) >= MOST_ALLOWED:
        raise UserError(f"{folder} allows {MOST_ALLOWED} keys, which is the most; remove some first")
    try:
        write_atomically(path, b"curve-public " + key + b"\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def remove(folder: Path, name: str) -> None:
    """Take NAME off the allow-list. Raises UserError where it is not on it."""
    _check_name(name)
    path = _allowed_folder(folder) / f"{name}.public"
    try:
        path.unlink()
    except OSError as error:
        raise UserError(f"{name!r} is not removed: {path}: {error.strerror}; see `hypnostream keys list`") from error


def read_allowed(folder: Path) -> Allowed:
    """The allow-list as it is now. A file in it that is no public key lets no one in and is a problem of its own.

    Raises UserError when the list cannot be read, or others than its owner and group may write in it.
    """
    names: dict[bytes, str] = {}
    problems: list[str] = []
    directory = _allowed_folder(folder)
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".public")
    except OSError as error:
        raise UserError(f"{directory} cannot be read: {error.strerror}; it lists who may listen") from error
    if len(paths) > MOST_ALLOWED:
        problems.append(f"{directory} holds more than {MOST_ALLOWED} keys; the others are left out")
    for path in paths[:MOST_ALLOWED]:
        try:
            _check_name(path.stem)
            key = read_public(path)
        except UserError as error:
            problems.append(str(error))
        else:
            if key in names:
                problems.append(f"{path} is the key of {names[key]!r} once more")
            names.setdefault(key, path.stem)
    return Allowed(names, tuple(problems))


def read_public(path: Path) -> bytes:
    """A public key (Z85, 40 bytes) from a file that anyone may have sent. Raises UserError."""
    return _read(path, b"public")


def read_secret(path: Path) -> bytes:
    """A secret key (Z85, 40 bytes). Raises UserError, on POSIX also when others than its owner may read the file."""
    key = _read(path, b"secret")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UserError(f"{path} is a secret that others may read or write; `chmod 600 {path}`, or make new keys")
    return key


def _read(path: Path, kind: bytes) -> bytes:
    try:
        if not path.is_file():
            raise UserError(f"{path} is not there or no file; `hypnostream keys new` makes keys")
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"{path} cannot be read: {error}") from error
    match = _LINE.fullmatch(raw)
    if match is None or not _is_z85(match[2]):
        raise UserError(f"{path} is no key: one line, curve-{kind.decode()} and 40 letters, is what it must hold")
    if match[1] != kind:
        mistaken = "a secret key, which never leaves its machine; name the .public file" if kind == b"public" else ""
        raise UserError(f"{path} holds {mistaken or 'a public key; name the .secret file'}")
    return match[2]


def _is_z85(text: bytes) -> bool:
    try:
        return len(z85.decode(text)) == 32
    except (struct.error, ValueError, KeyError):  # five letters may say more than four bytes hold
        return False


def _allowed_folder(folder: Path) -> Path:
    directory = folder / ALLOWED
    try:
        mode = directory.stat().st_mode
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} has no allow-list; `hypnostream keys new {SERVER} --folder {folder}`") from error
    if os.name == "posix" and mode & stat.S_IWOTH:
        raise UserError(f"anyone may write in {directory} and so allow anyone; `chmod o-w {directory}`")
    return directory


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise UserError(
            f"name {name[:70]!r}: letters, digits and, between them, dots, dashes and underscores; 64 at most"
        )


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
