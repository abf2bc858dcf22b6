"""One bed of a ward: its sessions, one after another, in a thread that sleeps while the loop has the bed.

What goes wrong with a bed is said and tried again in a while; its session is then taken up where it was. No other bed
notices.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hypnostream.bridges.live import live_session
from hypnostream.bridges.live_session import LiveOptions
from hypnostream.bridges.lsl import StoppedError
from hypnostream.bridges.messages import BED_ENDED, BED_FAILED
from hypnostream.bridges.overseers import overseers_of
from hypnostream.bridges.stopping import BedStop, LeftError
from hypnostream.bridges.summary import Summary
from hypnostream.bridges.tally import Tally
from hypnostream.bridges.ward_surroundings import AmongBeds, Common
from hypnostream.config import BedConfig
from hypnostream.errors import UserError

PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)  # before a bed is begun again: longer each time,
WELL_AFTER_S: Final = 120.0  # until a session lasted so long
STARTING_S: Final = 600.0  # how long one may take beyond its looking for streams, where hundreds begin at once
_logger = logging.getLogger(__name__)


class WardBed:
    """The bed at work in its thread, from `begin` on until `stop`. From there `say` (kind, detail) tells the ward, and
    `announce` the log; `tally` is of all its sessions.
    """

    def __init__(
        self, config: BedConfig, common: Common, say: Callable[[str, str], None], announce: Callable[[str], None]
    ) -> None:
        self.config, self.stop = config, BedStop()
        self.tally = Tally(config.lsl.timeout_s + STARTING_S, common.times)
        self._around, self._say, self._announce = AmongBeds(common, self._tell), say, announce
        self._told: tuple[str, str] | None = None
        self._thread: threading.Thread | None = None
        self._again_s = 0.0

    def begin(self) -> None:
        """Its thread begins, unless it has. Where the system has none left it is said, and tried again later."""
        if self._thread is not None or time.monotonic() < self._again_s:
            return
        thread = threading.Thread(target=self._live, name=self.config.name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._again_s = time.monotonic() + PAUSES_S[-2]
            self._tell(BED_FAILED, f"{error}: raise TasksMax of the ward's unit, or what `ulimit -u` allows")
        else:
            self._thread = thread

    @property
    def over(self) -> bool:
        """Whether its last session has ended and nothing of it is open any more."""
        return self._thread is None or not self._thread.is_alive()

    def _live(self) -> None:
        failures = 0
        while not self.stop():
            began_s = time.monotonic()
            try:
                _, folder = self._session()
                self._tell(BED_ENDED, f"report in {folder}")
                failures = 0
            except (LeftError, StoppedError):
                return
            except UserError as error:
                self._tell(BED_FAILED, str(error))
                failures += 1
            except Exception as error:
                _logger.exception("bed %s", self.config.name)
                self._tell(BED_FAILED, f"{type(error).__name__}: {error}")
                failures += 1
            if time.monotonic() - began_s > WELL_AFTER_S:
                failures = min(failures, 1)
            self.stop.asked_now.wait(PAUSES_S[min(failures, len(PAUSES_S) - 1)])

    def _session(self) -> tuple[Summary, Path]:
        self.tally.begin()
        try:
            with overseers_of(self.config, alone=False) as overseers:
                told = (*overseers, self.tally)
                options = LiveOptions(self.config, None, self._announce, overseers=told, around=self._around)
                return live_session(options, self.stop)
        finally:
            self.tally.end()

    def _tell(self, kind: str, detail: str) -> None:
        """Say it, unless it was said last already."""
        if (kind, detail) != self._told:
            self._told = kind, detail
            self._say(kind, detail)
