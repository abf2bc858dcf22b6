"""The addresses of a bed's file: whether each may be bound, and whether someone holds it already."""

from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from hypnostream.bridges.address import bindable, replay_address_of
from hypnostream.bridges.doctor import OK, PROBLEM, WARNING, Check
from hypnostream.bridges.http_endpoint import HttpEndpoint
from hypnostream.bridges.key_files import SERVER, read_allowed, read_secret
from hypnostream.config import BedConfig
from hypnostream.errors import UserError


def examine(config: BedConfig) -> Iterator[Check]:
    """Results, requests for what was missed, metrics."""
    publish = config.publish
    open_to_others = publish.insecure
    if publish.keys is not None:
        open_to_others = True
        yield keys(Path(publish.keys))
    if publish.insecure and publish.keys is None:
        yield Check("publish.insecure", WARNING, "whoever reaches this machine reads everything", "use publish.keys")
    yield _try("publish.address", publish.address, lambda: bind(publish.address, open_to_others))
    try:
        replay = publish.replay or replay_address_of(publish.address)
        yield _try("publish.replay", replay, lambda: bind(replay, open_to_others))
    except UserError as error:
        yield Check("publish.replay", PROBLEM, str(error))
    if config.metrics.address is not None:
        yield metrics(config.metrics.address, publish.insecure)


def metrics(address: str, insecure: bool) -> Check:
    """Where metrics and health are served, of a bed or of a ward."""
    return _try("metrics.address", address, lambda: HttpEndpoint(address, {}, insecure=insecure).close())


def keys(folder: Path) -> Check:
    """The bed's own keys, and who may listen."""
    try:
        read_secret(folder / f"{SERVER}.secret")
        allowed = read_allowed(folder)
    except UserError as error:
        return Check("publish.keys", PROBLEM, str(error))
    said = f"{folder} allows {len(allowed.names)} to listen"
    if allowed.problems:
        return Check("publish.keys", WARNING, f"{said}; left out: {'; '.join(allowed.problems)}", "mend these files")
    if not allowed.names:
        return Check("publish.keys", WARNING, said, "let someone listen: `hypnostream keys allow`")
    return Check("publish.keys", OK, said)


def bind(address: str, open_to_others: bool) -> None:
    """Bind a ZeroMQ address and let go of it again. UserError where it is refused or cannot be bound."""
    address = bindable(address, insecure=open_to_others)
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.IPV6, int("[" in address))
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise UserError(f"address {address} cannot be bound: {zmq.strerror(error.errno or 0)}") from error


def _try(name: str, address: str, attempt: Callable[[], None]) -> Check:
    try:
        attempt()
    except UserError as error:
        if "in use" in str(error):
            return Check(name, WARNING, str(error), "nothing, if this bed runs already; else choose another port")
        return Check(name, PROBLEM, str(error))
    return Check(name, OK, f"{address} is free")
