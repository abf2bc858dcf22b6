"""Who holds no allowed key gets nothing from a publisher, on neither address, and disturbs nobody."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq

from hypnostream.bridges import curve
from hypnostream.bridges.address import ClientSecurity
from hypnostream.bridges.client import Client
from hypnostream.bridges.curve import ClientKeys, Gate, client_keys, gate_of
from hypnostream.bridges.key_files import allow, new_keys, remove
from hypnostream.bridges.messages import INSECURE, SESSION_ENDED, SESSION_STARTED, StatusMessage
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.replay_messages import SnapshotRequest, encode
from hypnostream.config import PublishSection
from hypnostream.engine.results import StageResult
from hypnostream.errors import UserError
from tests.bridges.hearing import heard_until

SOON_S = 10.0
NOTHING_MS = 300  # how long nothing must come, when what another was sent at that time has come


@dataclass
class Listener:
    """Plain sockets on both addresses of a publisher, as any program with ZeroMQ has them."""

    live: zmq.Socket[Any]
    asking: zmq.Socket[Any]

    def hears(self, timeout_s: float = SOON_S) -> bool:
        """Whether anything published comes."""
        return bool(self.live.poll(round(timeout_s * 1000))) and len(self.live.recv_multipart()) == 2

    def gets_answers(self, timeout_s: float = SOON_S) -> bool:
        with suppress(zmq.Again):  # the connection was given up
            self.asking.send(encode(SnapshotRequest()), zmq.NOBLOCK)
        return bool(self.asking.poll(round(timeout_s * 1000))) and bool(self.asking.recv())


@dataclass
class House:
    """A bed that publishes with keys, and whoever listens to it."""

    keys: Path
    gate: Gate
    publisher: Publisher
    stack: ExitStack

    def listener(self, security: ClientSecurity | None) -> Listener:
        context = self.stack.enter_context(zmq.Context())
        pair = []
        assert self.publisher.replay_address is not None
        for kind, address in ((zmq.SUB, self.publisher.address), (zmq.DEALER, self.publisher.replay_address)):
            made = self.stack.enter_context(context.socket(kind))
            made.set(zmq.LINGER, 0)
            if security is not None:
                security.connect(made)
            if kind == zmq.SUB:
                made.subscribe("")
            made.connect(address)
            pair.append(made)
        return Listener(*pair)

    def beat_until_heard(self, listener: Listener) -> None:
        deadline = time.monotonic() + SOON_S
        while not listener.hears(0.02):
            assert time.monotonic() < deadline
            self.publisher.heartbeat(0.0)

    def client(self, name: str) -> ClientKeys:
        """Keys that are not on the list yet."""
        if not (self.keys / f"{name}.secret").exists():
            new_keys(self.keys, name)
        return client_keys(self.keys, name)

    def listed(self, name: str) -> ClientKeys:
        own = self.client(name)
        allow(self.keys, self.keys / f"{name}.public")
        return own


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    new_keys(tmp_path / "keys", "server")
    any_port = "tcp://127.0.0.1:*"
    with ExitStack() as stack:
        gate = Gate(tmp_path / "keys")
        publisher = Publisher(any_port, model_hash="0", backend="none", replay_address=any_port, curve=gate)
        stack.enter_context(publisher)
        yield House(tmp_path / "keys", gate, publisher, stack)


class Plain:
    """A name and a password, which CURVE does not ask for."""

    def connect(self, socket: zmq.Socket[Any]) -> None:
        socket.set(zmq.PLAIN_USERNAME, b"server")
        socket.set(zmq.PLAIN_PASSWORD, b"password")


def stranger(house: House, kind: str) -> ClientSecurity | None:
    listed, other = house.listed("once"), ClientKeys(zmq.curve_keypair()[1], zmq.curve_keypair()[0])
    match kind:
        case "plaintext":
            return None
        case "password":
            return Plain()
        case "wrong server key":
            return ClientKeys(listed.secret, other.server)
        case "unlisted":
            return ClientKeys(other.secret, listed.server)
        case _:
            remove(house.keys, "once")
            return listed


@pytest.mark.parametrize("kind", ["plaintext", "password", "wrong server key", "unlisted", "removed"])
def test_who_is_not_allowed_gets_nothing_on_either_address(
    house: House, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = house.listener(stranger(house, kind))
    guest = house.listener(house.listed("dashboard"))
    house.beat_until_heard(guest)
    for _ in range(20):
        house.publisher.heartbeat(0.0)
    assert all(guest.hears() for _ in range(20))
    assert guest.gets_answers()
    assert not refused.hears(NOTHING_MS / 1000)
    assert not refused.gets_answers(NOTHING_MS / 1000)
    assert house.publisher.subscribers == 1
    assert (house.gate.refused > 0) is (kind in ("unlisted", "removed"))
    said = [record for record in caplog.records if "was refused" in record.getMessage()]
    assert len(said) == (kind in ("unlisted", "removed"))  # once, however often it came again


def test_everything_allowed_is_encrypted_on_the_wire(house: House) -> None:
    """A machine between the two sees neither topic nor session."""
    address = house.publisher.address.removeprefix("tcp://").split(":")
    seen = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as between:
        threading.Thread(target=_relay, args=(between, (address[0], int(address[1])), seen), daemon=True).start()
        context = house.stack.enter_context(zmq.Context())
        with context.socket(zmq.SUB) as live:
            house.listed("dashboard").connect(live)
            live.subscribe("")
            live.connect(f"tcp://127.0.0.1:{between.getsockname()[1]}")
            house.beat_until_heard(Listener(live, live))
    assert len(seen) > 500
    assert b"CURVE" in seen
    for secret in (b"heartbeat", house.publisher.origin.session_id.encode()):
        assert secret not in seen


def _relay(between: socket.socket, to: tuple[str, int], seen: bytearray) -> None:
    client, _ = between.accept()
    server = socket.create_connection(to)

    def copy(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            seen.extend(data)
            target.sendall(data)
        target.close()

    threading.Thread(target=copy, args=(client, server), daemon=True).start()
    copy(server, client)


def test_who_is_listed_while_waiting_gets_in_without_a_restart(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "HANDSHAKE_MS", 200)
    waiting = house.listener(house.client("dashboard"))
    assert not waiting.hears(NOTHING_MS / 1000)
    house.listed("dashboard")
    house.beat_until_heard(waiting)
    assert waiting.gets_answers()


def test_who_is_removed_keeps_what_is_open_and_connects_no_more(house: House) -> None:
    keys = house.listed("dashboard")
    before = house.listener(keys)
    house.beat_until_heard(before)
    remove(house.keys, "dashboard")
    after = house.listener(keys)
    assert not after.hears(NOTHING_MS / 1000)
    assert not after.gets_answers(NOTHING_MS / 1000)
    house.publisher.heartbeat(0.0)
    assert before.hears()


def test_a_list_that_is_gone_lets_no_one_in_until_it_is_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "HANDSHAKE_MS", 200)
    keys = house.listed("dashboard")
    shutil.move(house.keys / "allowed", house.keys / "away")
    waiting = house.listener(keys)
    assert not waiting.hears(NOTHING_MS / 1000)
    shutil.move(house.keys / "away", house.keys / "allowed")
    house.beat_until_heard(waiting)


def test_a_key_that_is_replaced_within_its_file_is_seen_within_a_second(house: House) -> None:
    house.listed("dashboard")
    house.beat_until_heard(house.listener(house.client("dashboard")))
    other = house.client("other")
    (house.keys / "allowed" / "dashboard.public").write_bytes((house.keys / "other.public").read_bytes())
    time.sleep(curve.REREAD_S)
    house.beat_until_heard(house.listener(other))


def test_without_a_gate_no_one_gets_in(house: House) -> None:
    house.gate.close()
    late = house.listener(house.listed("dashboard"))
    assert not late.hears(NOTHING_MS / 1000)
    assert not late.gets_answers(NOTHING_MS / 1000)


def test_a_gate_ends_with_its_publisher_and_serves_the_next(tmp_path: Path) -> None:
    new_keys(tmp_path, "server")
    gate = Gate(tmp_path)
    for _ in range(3):
        started_s = time.monotonic()
        with Publisher("tcp://127.0.0.1:*", model_hash="0", backend="none", curve=gate):
            assert sum(thread.name == "gate" for thread in threading.enumerate()) == 1
        assert not any(thread.name == "gate" for thread in threading.enumerate())
        assert time.monotonic() - started_s < 5
    gate.close()


def test_keys_open_an_address_that_others_reach_and_nothing_else_does(tmp_path: Path) -> None:
    new_keys(tmp_path, "server")
    everywhere = "tcp://0.0.0.0:*"
    with pytest.raises(UserError, match="keys new"):
        Publisher(everywhere, model_hash="0", backend="none")
    with Publisher(everywhere, model_hash="0", backend="none", curve=Gate(tmp_path)) as publisher:
        assert publisher.address.startswith("tcp://0.0.0.0:")


def test_the_client_takes_keys_on_both_addresses(house: House) -> None:
    with Client(house.publisher.address, curve=house.listed("dashboard")) as client:
        assert house.publisher.wait_for_subscriber(SOON_S, "heartbeat")
        house.publisher.status(SESSION_STARTED, 0.0, detail="before anyone asked")
        house.publisher.heartbeat(1.0)
        deadline = time.monotonic() + SOON_S
        seen: list[str] = []
        while time.monotonic() < deadline and len(seen) < 2:
            seen += [message.topic for message in client.messages(0.05)]
    assert sorted(seen) == ["heartbeat", "status"]


def test_watch_listens_with_keys_and_not_without(house: House) -> None:
    house.listed("dashboard")
    watching = [sys.executable, "-m", "hypnostream", "watch", house.publisher.address, "--json"]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([*watching, "--keys", house.keys], stdout=pipe, stderr=pipe, text=True) as allowed,
        subprocess.Popen(watching, stdout=pipe, stderr=pipe, text=True) as refused,
    ):
        try:
            assert house.publisher.wait_for_subscriber(60.0, "heartbeat")
            result = StageResult(0, 0.0, True, 30, "N2", None, (0.05, 0.05, 0.8, 0.05, 0.05), ())
            house.publisher.publish(result, 30.0)
            assert allowed.stdout is not None
            assert json.loads(allowed.stdout.readline())["stage"] == "N2"
        finally:
            for process in (allowed, refused):
                process.terminate()
        assert refused.communicate()[0] == ""


def test_an_address_that_anyone_may_reach_says_so(caplog: pytest.LogCaptureFixture) -> None:
    everywhere = "tcp://0.0.0.0:*"
    publisher = Publisher(everywhere, model_hash="0", backend="none", insecure=True, replay_address=everywhere)
    here = f"tcp://127.0.0.1:{publisher.address.rpartition(':')[2]}"
    with publisher, Client(here, topics=("status",)) as client:
        assert publisher.wait_for_subscriber(SOON_S, "heartbeat")
        for now_s in (1.0, 2.0):
            publisher.heartbeat(now_s)
        publisher.status(SESSION_ENDED, 3.0)
        heard_all = heard_until(client, lambda m: isinstance(m, StatusMessage) and m.state == SESSION_ENDED)
        notices = [m for m in heard_all[:-1] if isinstance(m, StatusMessage)]
    assert [(m.state, m.subject) for m in notices] == [
        (INSECURE, publisher.address),
        (INSECURE, publisher.replay_address),
    ]
    assert caplog.text.count("is insecure: whoever reaches it can read everything") == 2


def test_what_only_this_machine_or_only_those_with_keys_reach_says_nothing(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(f"ipc://{tmp_path}/bed", model_hash="0", backend="none") as alone:
        for publisher in (alone, house.publisher):
            publisher.heartbeat(0.0)
            assert publisher.last_seq == {}
    assert caplog.text == ""


def test_the_configuration_names_the_keys_and_contradicts_itself_nowhere(house: House) -> None:
    assert gate_of(PublishSection()) is None
    assert gate_of(PublishSection(keys=str(house.keys))) is not None
    with pytest.raises(UserError, match="exclude each other"):
        gate_of(PublishSection(keys=str(house.keys), insecure=True))
    with pytest.raises(UserError, match=r"server\.secret is not there"):
        gate_of(PublishSection(keys=str(house.keys / "nowhere")))


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01"
GARBAGE = (
    b"",
    b"GET / HTTP/1.1\r\nHost: bed\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01" + bytes(500),
    b"\xff" * 4096,
    GREETING + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x04\x19\x05READY",
    GREETING + b"CURVE".ljust(20, b"\0") + bytes(32) + b"\x04\xc8\x05HELLO" + bytes(194),
    GREETING + b"CURVE".ljust(20, b"\0") + bytes(32) + b"\x06\x7f" + b"\xff" * 7 + b"\x05HELLO",  # 2^63 bytes to come
)


class Flood:
    """Strangers who knock as fast as they can at both addresses: raw bytes, and handshakes with an unlisted key."""

    def __init__(self, house: House) -> None:
        assert house.publisher.replay_address is not None
        addresses = (house.publisher.address, house.publisher.replay_address)
        self.doors = [("127.0.0.1", int(address.rpartition(":")[2])) for address in addresses]
        self.knocks = 0
        self.over = threading.Event()
        self.unlisted = ClientKeys(zmq.curve_keypair()[1], client_keys(house.keys, "dashboard").server)
        self.addresses = addresses
        self.threads = [threading.Thread(target=act, daemon=True) for act in (self._garbage, self._handshakes)]

    def __enter__(self) -> "Flood":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _garbage(self) -> None:
        held: list[socket.socket] = []  # half of them never say goodbye
        while not self.over.wait(0.002):
            for door in self.doors:
                knocking = socket.create_connection(door)
                knocking.setblocking(False)
                knocking.send(GARBAGE[self.knocks % len(GARBAGE)])
                self.knocks += 1
                held.append(knocking)
                if len(held) > 100:
                    held.pop(0).close()
        for each in held:
            each.close()

    def _handshakes(self) -> None:
        with zmq.Context() as context:
            while not self.over.wait(0.005):
                for address in self.addresses:
                    with context.socket(zmq.DEALER) as knocking:
                        knocking.set(zmq.LINGER, 0)
                        self.unlisted.connect(knocking)
                        knocking.connect(address)
                        knocking.poll(2)
                        self.knocks += 1


def test_a_flood_of_strangers_costs_those_who_may_listen_nothing(house: House) -> None:
    guest = house.listener(house.listed("dashboard"))
    house.beat_until_heard(guest)
    while guest.live.poll(50):
        guest.live.recv_multipart()
    with Flood(house) as flood:
        while flood.knocks < 50:
            time.sleep(0.01)
        delays_s = []
        for _ in range(100):
            sent_s = time.perf_counter()
            house.publisher.heartbeat(0.0)
            assert guest.hears()
            delays_s.append(time.perf_counter() - sent_s)
            time.sleep(0.005)
        assert guest.gets_answers()
        assert flood.knocks > 150
    assert sorted(delays_s)[50] < 0.05
    assert house.publisher.subscribers == 1
