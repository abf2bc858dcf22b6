"""`hypnostream bridge`: a session's results to where ZeroMQ does not reach, each in a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

from hypnostream.errors import UserError

bridge = typer.Typer(no_args_is_help=True, help="Pass a session's results on to web pages and other systems.")

Connect = Annotated[str, typer.Option(help="Where the session publishes.")]
Keys = Annotated[Path | None, typer.Option(help="A folder with server.public and one's own secret.")]


@bridge.callback()
def _bridge() -> None:
    pass


@bridge.command("web")
def bridge_web(
    connect: Connect = "tcp://127.0.0.1:5556",
    address: Annotated[str, typer.Option(help="HOST:PORT to serve on.")] = "127.0.0.1:8765",
    origin: Annotated[list[str] | None, typer.Option(help="A web site whose pages may read too.")] = None,
    files: Annotated[Path | None, typer.Option(help="A folder of pages to serve beside the messages.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow an address that other machines reach.")] = False,
    keys: Keys = None,
) -> None:
    """Serve a session to web pages. A WebSocket that carries the same messages as JSON (needs the 'web' extra)."""
    from importlib.util import find_spec

    absent = [name for name in ("starlette", "uvicorn", "websockets") if find_spec(name) is None]
    if absent:
        raise UserError(f'the web bridge needs {", ".join(absent)}: `pip install ".[web]"`')
    from hypnostream.bridges.client import Client
    from hypnostream.bridges.curve import client_keys
    from hypnostream.bridges.websocket import serve_web

    with Client(connect, history=True, curve=None if keys is None else client_keys(keys)) as client:
        serve_web(
            client,
            address,
            origins=tuple(origin or ()),
            files=files,
            insecure=insecure,
            announce=lambda line: typer.echo(line, err=True),
        )


@bridge.command("lsl")
def bridge_lsl(
    connect: Connect = "tcp://127.0.0.1:5556",
    name: Annotated[str, typer.Option(help="What the streams' names begin with.")] = "hypnostream",
    keys: Annotated[Path | None, typer.Option(help="A folder of CURVE keys to connect with.")] = None,
    private_session: Annotated[str | None, typer.Option(help="Be seen in this private LSL session only.")] = None,
) -> None:
    """Publish a session back into LSL. A recorder then keeps stages and events beside the signals."""
    from hypnostream.bridges.client import Client
    from hypnostream.bridges.curve import client_keys
    from hypnostream.bridges.lsl_config import use_private_lsl
    from hypnostream.bridges.messages import EPOCH_TOPIC, EVENT_TOPIC
    from hypnostream.bridges.stopping import stopped_by_signals

    if not 0 < len(name) <= 80 or not name.isprintable():
        raise UserError(f"--name {name[:80]!r} is not 1 to 80 printable characters")
    if private_session is not None:
        use_private_lsl(private_session)
    from hypnostream.bridges import lsl_results

    curve = None if keys is None else client_keys(keys)
    with stopped_by_signals() as stop, Client(connect, (EPOCH_TOPIC, EVENT_TOPIC), curve=curve) as client:
        lsl_results.bridge_lsl(client, name, announce=lambda line: typer.echo(line, err=True), stop=stop)
