"""What systemd is told: one datagram each, and nothing where it does not listen."""

import socket
import sys
from pathlib import Path

import pytest

from hypnostream.bridges.messages import SESSION_ENDED
from hypnostream.bridges.service_manager import ServiceManager, tell
from hypnostream.stream.source import SOURCE_STALLED, Notice

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd's socket is a Unix one")


@unix
def test_up_alive_and_ending_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        now = [0.0]
        service = ServiceManager(wall=lambda: now[0])
        for now[0] in (1.0, 1.1, 1.2, 2.0):  # faster than life: one a second on the wall is enough
            service.heartbeat(60 * now[0])
        service.notice(Notice(SOURCE_STALLED, "oxi\nREADY=0", 3.0))
        service.notice(Notice(SESSION_ENDED, "", 4.0))
        said = [manager.recv(4096).decode() for _ in range(6)]
    assert said == [
        "READY=1",
        "WATCHDOG=1",
        "WATCHDOG=1",
        "STATUS=source_stalled oxi READY=0",
        "STATUS=session_ended",
        "STOPPING=1\nWATCHDOG_USEC=1800000000",
    ]


@unix
@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"hypnostream-test-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert tell("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "relative", "\x01" * 300])
def test_nobody_there_ends_no_night(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not tell("WATCHDOG=1")


@unix
def test_a_manager_that_does_not_read_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert not all(tell("WATCHDOG=1") for _ in range(100_000))
