"""The real parts of a bed, each a process that may be stopped, killed and starved."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.processes import children, memory_mib
from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import EpochMessage, Message, StatusMessage

PROGRAMS = Path(__file__).parent
START_S = 30.0


class SenderProcess:
    """`sender.py` under control.

    Its source_id is its session's: liblsl, where it recovers by itself, looks for that in all sessions of a machine.
    """

    def __init__(self, session: str, **settings: Any) -> None:
        settings = {"session": session, "source_id": f"serial of {session}", **settings}
        command = [sys.executable, str(PROGRAMS / "sender.py"), json.dumps(settings)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, what: str = "set", **faults: Any) -> dict[str, Any]:
        """One command, and how the sender stands then."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, **faults}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def kill(self) -> None:
        """Dies in the middle of whatever it does."""
        self.process.kill()
        self.process.communicate()


class Listener:
    """A subscriber in a thread of its own, which writes down what came and when (UTC)."""

    def __init__(self, address: str) -> None:
        self.heard: list[tuple[float, Message]] = []
        self._stop = threading.Event()
        self._client = Client(address)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            message = self._client.receive(0.02)
            if message is not None:
                self.heard.append((time.time(), message))

    @property
    def lost(self) -> int:
        """What its client says that it lost."""
        return self._client.lost

    def statuses(self, *states: str, since: float = 0.0) -> list[tuple[float, StatusMessage]]:
        """Notices of these states that were said since, all of them if none is named."""
        return [
            (at, m)
            for at, m in list(self.heard)
            if m.time.published_utc_s >= since and isinstance(m, StatusMessage) and (not states or m.state in states)
        ]

    def stages(self, since: float = 0.0, final: bool = False) -> list[tuple[float, EpochMessage]]:
        """Stages that came since: the provisional ones, or the final ones."""
        return [
            (at, m)
            for at, m in list(self.heard)
            if at >= since and isinstance(m, EpochMessage) and (m.status != "preliminary") is final
        ]

    def wait_for(self, find: Callable[[], Any], within_s: float) -> Any:
        """What `find` gives as soon as it is something, or what it gives at the end."""
        deadline = time.monotonic() + within_s
        while not (found := find()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

    def close(self) -> None:
        """Listens no more."""
        self._stop.set()
        self._thread.join()
        self._client.close()


class Engine:
    """`hypnostream run` on one bed's file; started again, it goes on in the same folder."""

    def __init__(
        self,
        folder: Path,
        session: str,
        limit: Callable[[], None] | None = None,
        backlog_mb: float = 64.0,
        record: bool = False,
    ) -> None:
        self.folder, self.out, self.address = folder, folder / "night", f"ipc://{folder}/out"
        self._limit = limit
        (folder / "bed.toml").write_text(
            f'name = "bed"\n[lsl]\nminimum = 1\ntimeout_s = 20\nprivate_session = "{session}"\n'
            f'backlog_mb = {backlog_mb}\n[publish]\naddress = "{self.address}"\n'
            f'[keep]\nfolder = "{folder}/nights"\nrecord = {str(record).lower()}\n'
        )
        self.process = self.start()

    def start(self) -> "subprocess.Popen[str]":
        """A process of it."""
        command = [sys.executable, "-m", "hypnostream", "run", "--config", str(self.folder / "bed.toml")]
        with (self.folder / "stderr").open("a") as errors:
            self.process = subprocess.Popen(
                [*command, "--out", str(self.out)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                preexec_fn=self._limit,
                start_new_session=True,
            )
        return self.process

    def signal(self, number: signal.Signals) -> None:
        """To the engine alone, not to its children."""
        os.kill(self.process.pid, number)

    def reader(self) -> int | None:
        """The child that reads LSL, if there is one: the one that has liblsl in its memory."""
        for pid in children(self.process.pid):
            try:
                if "liblsl" in Path(f"/proc/{pid}/maps").read_text():
                    return pid
            except OSError:
                continue
        return None

    def resident_mib(self) -> float:
        """Resident memory. Linux only."""
        return memory_mib("VmRSS", self.process.pid)

    def stderr(self) -> str:
        """The last line that it said."""
        lines = (self.folder / "stderr").read_text().strip().splitlines()
        return lines[-1] if lines else ""

    def stop(self, within_s: float = 30.0) -> int:
        """Asks it to end in good order; its exit code."""
        self.process.terminate()
        return self.process.wait(within_s)

    def kill(self) -> None:
        """It and its children; nothing is left behind."""
        below = children(self.process.pid) if self.process.poll() is None else []
        for pid in (self.process.pid, *below):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


class Stage:
    """One row's scene: a sender, an engine and a listener in a private session, gone at the end.

    `settings` are the sender's, the rest the engine's.
    """

    def __init__(
        self,
        folder: Path,
        session: str,
        limit: Callable[[], None] | None = None,
        backlog_mb: float = 64.0,
        record: bool = False,
        **settings: Any,
    ) -> None:
        self.folder, self.session = folder, session
        self.senders: list[SenderProcess] = []
        self.sender, self.base_s = self.add_sender(**settings), 0.0
        self.base_s = float(self.sender.do("start")["base_s"])
        self.engine = Engine(folder, session, limit, backlog_mb, record)
        self.listener = Listener(self.engine.address)

    def add_sender(self, **settings: Any) -> SenderProcess:
        """A sender that waits for its start; with `base_s` it goes on counting where another one is."""
        self.senders.append(SenderProcess(session=self.session, **settings))
        return self.senders[-1]

    def flowing(self, within_s: float = START_S) -> bool:
        """Whether provisional stages of good signals come, within so long."""

        def good() -> bool:
            last = self.listener.stages(time.time() - 2.0)
            return bool(last) and last[-1][1].channels[0].ok_fraction > 0

        return bool(self.listener.wait_for(good, within_s))

    def close(self) -> None:
        """Ends every process."""
        self.listener.close()
        self.engine.kill()
        for sender in self.senders:
            sender.kill()
