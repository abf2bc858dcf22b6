"""A session that can be asked for what was missed, and ended and taken up again."""

import threading
from contextlib import ExitStack
from pathlib import Path

from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.result_log import ResultLog
from hypnostream.engine.results import ChannelState, StageResult

ANY_PORT = "tcp://127.0.0.1:*"
SOON_S = 10.0


def result(epoch: int, stage: str = "N2", *, final: bool = True) -> StageResult:
    channels = (ChannelState("eeg_frontal", "ok", 1.0, False),)
    return StageResult(epoch, 30.0 * epoch, final, 30, stage, None, (0.1, 0.1, 0.6, 0.1, 0.1), channels)


class Session:
    """A publisher on a log, which can be ended and taken up again at the same addresses."""

    def __init__(self, folder: Path) -> None:
        self.log_path = folder / "results.arrows"
        self.address = self.replay = ANY_PORT
        self.stack = ExitStack()
        self.start()

    def start(self, last_seq: dict[str, int] | None = None) -> Publisher:
        self.log = self.stack.enter_context(ResultLog(self.log_path))
        publisher = Publisher(
            self.address, model_hash="9f", backend="none", log=self.log, last_seq=last_seq, replay_address=self.replay
        )
        self.publisher = self.stack.enter_context(publisher)
        self.address, self.replay = publisher.address, publisher.replay_address or ""
        return publisher

    def end(self) -> None:
        self.stack.close()

    def say(self, *epochs: int) -> None:
        for epoch in epochs:
            self.publisher.publish(result(epoch), 30.0 * epoch + 30)

    def beat_until(self, done: threading.Event) -> None:
        while not done.wait(0.02):
            self.publisher.heartbeat(0.0)
