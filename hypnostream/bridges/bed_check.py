"""What is wrong with a bed's settings and can be known before its session begins: said before streams are looked for,
and before a ward lets go of a session that runs."""

import os
from collections.abc import Collection
from pathlib import Path

from hypnostream.bridges.address import bindable, permitted, replay_address_of
from hypnostream.bridges.breathing import specs_of
from hypnostream.bridges.curve import gate_of
from hypnostream.bridges.http_endpoint import host_and_port
from hypnostream.bridges.lsl_config import reader_config, session_in_use
from hypnostream.config import BedConfig
from hypnostream.engine.bundle import Bundle
from hypnostream.errors import UserError


def check_addresses(config: BedConfig, held: Collection[str] = ()) -> None:
    """Addresses and keys. Of addresses that are `held` by beds which give them up it does not matter that they are
    in use. Raises UserError."""
    publish = config.publish
    open_to_others = publish.insecure or publish.keys is not None
    for address in (publish.address, publish.replay or replay_address_of(publish.address)):
        (permitted if address in held else bindable)(address, insecure=open_to_others)
    gate_of(publish)
    if config.metrics.address is not None:
        host_and_port(config.metrics.address, insecure=publish.insecure)


def check_lsl(config: BedConfig) -> None:
    """The session and the peers that LSL is asked for. Raises UserError."""
    reader_config(config.lsl.private_session or session_in_use(), config.lsl.known_peers)


def check_folder(folder: Path) -> None:
    """Where sessions are kept. Raises UserError."""
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not there.is_dir():
            raise UserError(f"keep.folder {folder}: {there} is a file; name a folder for the sessions")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(f"keep.folder {folder}: {there} cannot be written; choose one that can be")
    except OSError as error:
        raise UserError(f"keep.folder {folder} cannot be looked at: {error.strerror}; choose another") from error


def check_channels(config: BedConfig, bundle: Bundle) -> None:
    """The inputs that `[channels]` names. Raises UserError."""
    inputs = [spec.name for spec in specs_of(bundle, config.breathing)]
    for name in config.channels:
        if name not in inputs:
            raise UserError(f"[channels] {name!r} is no input of this model, which has {', '.join(inputs)}")
