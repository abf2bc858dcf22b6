"""Where what was missed is asked for."""

import pytest

from hypnostream.bridges.address import replay_address_of, replay_address_seen
from hypnostream.bridges.publisher import Publisher
from hypnostream.errors import UserError
from tests.bridges.replayed_session import ANY_PORT, Session


@pytest.mark.parametrize(
    ("address", "replay"),
    [
        ("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5557"),
        ("tcp://[::1]:5556", "tcp://[::1]:5557"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
        ("ipc:///run/bed", "ipc:///run/bed-replay"),
        ("inproc://bed", "inproc://bed-replay"),
    ],
)
def test_the_replay_address_follows_from_the_other(address: str, replay: str) -> None:
    assert replay_address_of(address) == replay


def test_there_is_no_port_after_the_last() -> None:
    with pytest.raises(UserError, match="no next port"):
        replay_address_of("tcp://127.0.0.1:65535")


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("tcp://0.0.0.0:7", "tcp://192.0.2.9:7"),
        ("tcp://198.51.100.1:7", "tcp://192.0.2.9:7"),  # never another host
        ("tcp://192.0.2.9:seven", None),
        ("tcp://192.0.2.9:70000", None),
        ("ipc:///etc/passwd", None),
        ("", None),
    ],
)
def test_a_publisher_cannot_send_its_clients_to_another_host(told: str, seen: str | None) -> None:
    assert replay_address_seen("tcp://192.0.2.9:5556", told) == seen


def test_a_taken_replay_address_is_one_line_and_frees_the_other(session: Session) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"cannot answer requests for missed results on .* in use") as refusal:
            Publisher(ANY_PORT, model_hash="9f", backend="none", replay_address=session.replay)
        assert "\n" not in str(refusal.value)


def test_a_log_of_another_session_is_refused(session: Session) -> None:
    session.say(0)
    with pytest.raises(UserError, match="give each a log of its own"):
        Publisher(ANY_PORT, model_hash="9f", backend="none", session_id="another", log=session.log)
