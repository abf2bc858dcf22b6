"""Watching a session from a terminal, or as lines of JSON where no one looks."""

import json
import time
from collections.abc import Callable

import msgspec
from rich.console import Console
from rich.live import Live

from hypnostream.bridges.address import ClientSecurity
from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import INDICES_TOPIC, EpochMessage, EventMessage, Message
from hypnostream.bridges.watch_view import WatchState, render

__all__ = ["WatchState", "render", "watch"]

REDRAW_S = 0.1


def watch(
    address: str,
    console: Console,
    *,
    json_lines: bool = False,
    curve: ClientSecurity | None = None,
    until: Callable[[WatchState], bool] | None = None,
) -> WatchState:
    """Subscribes to `address` and shows the session until `until` says so or Ctrl-C; what was last seen is returned.

    Who joins late sees the night so far, where the session keeps it.
    Where the console is no terminal, or with `json_lines`, each settled epoch, each revision of an event and the
    indices of breathing are one line of JSON instead. `until` is asked after each message and ten times a second;
    `lambda state: state.ended` ends with the session.
    UserError: not an address.
    """
    state = WatchState(address=address)
    with Client(address, history=True, curve=curve) as client:
        try:
            if json_lines or not console.is_terminal:
                _print_lines(client, state, console, until)
            else:
                _show(client, state, console, until)
        except (KeyboardInterrupt, BrokenPipeError):  # the two ways in which a reader says that it has seen enough
            pass
    return state


def _show(client: Client, state: WatchState, console: Console, until: Callable[[WatchState], bool] | None) -> None:
    with Live(console=console, auto_refresh=False) as live:
        drawn_s = 0.0
        done = False
        while not done:
            message = client.receive(REDRAW_S)
            if message is not None:
                state.update(message)
            state.update_connection(client)
            done = until is not None and until(state)
            if done or time.monotonic() - drawn_s >= REDRAW_S:  # a replay at full speed says more than eyes can read
                live.update(render(state, console.width), refresh=True)
                drawn_s = time.monotonic()


def _is_line(message: Message) -> bool:
    """Whether a message is for programs that go by lines: what holds, and of events all that is said."""
    if isinstance(message, EpochMessage):
        return message.status != "preliminary"
    return isinstance(message, EventMessage) or message.topic == INDICES_TOPIC


def _print_lines(
    client: Client, state: WatchState, console: Console, until: Callable[[WatchState], bool] | None
) -> None:
    while True:
        message = client.receive(REDRAW_S)
        if message is not None:
            state.update(message)
            if _is_line(message):
                # ASCII, so that no name from outside can drive a terminal.
                console.file.write(json.dumps(msgspec.to_builtins(message)) + "\n")
                console.file.flush()
        state.update_connection(client)
        if until is not None and until(state):
            return
