"""`hypnostream bridge web` as a process of its own, and what a publisher says to it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from hypnostream.bridges.messages import HEARTBEAT_TOPIC
from hypnostream.bridges.publisher import Publisher
from hypnostream.engine.results import ChannelState, StageResult

WITHIN_S = 20.0
STAGES = ("W", "N1", "N2", None, "N3", "R")


@contextmanager
def web_bridge(publisher: Publisher, *options: str) -> Iterator[str]:
    """HOST:PORT of a bridge that hears the publisher."""
    command = [sys.executable, "-m", "hypnostream", "bridge", "web", "--connect", publisher.address]
    process = subprocess.Popen([*command, "--address", "127.0.0.1:0", *options], stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            assert said.startswith("serving http://127.0.0.1:"), said
            assert publisher.wait_for_subscriber(WITHIN_S, HEARTBEAT_TOPIC)
            yield urlsplit(said.split()[1]).netloc
            process.terminate()
            assert process.wait(WITHIN_S) == 0, process.stderr.read()
            assert process.stderr.read() == ""
        finally:
            process.kill()


def stage(epoch: int, final: bool = True) -> StageResult:
    """An epoch's stage: in turn one of STAGES."""
    name = STAGES[epoch % len(STAGES)]
    eog = ChannelState("eog", "flat", 0.1, True)
    probabilities = (0.05, 0.05, 0.8, 0.05, 0.05)
    reason = None if name else "no_data"
    return StageResult(epoch, epoch * 30.0, final, 30, name, reason, probabilities, (eog,))
