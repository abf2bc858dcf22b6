"""Whether a bed at work could begin as its file says now: known before its session is let go of for that."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hypnostream.bridges.bed_check import check_addresses, check_channels, check_folder, check_lsl
from hypnostream.bridges.ward_surroundings import Common
from hypnostream.config import BedConfig
from hypnostream.errors import UserError

AGAIN_S: Final = 10.0  # what was wrong may lie beside the file (keys, a bundle), and be mended there
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Trial:
    config: BedConfig
    held: Collection[str]
    why: str | None = None
    ended_s: float | None = None  # None: it is on


class Trials:
    """Each in a thread of its own: a bundle may take long to load, a disk may hang, and no other bed waits for it."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._trials: dict[str, _Trial] = {}

    def why_not(self, place: str, config: BedConfig, held: Callable[[], Collection[str]]) -> str | None:
        """Why the bed at `place` could not begin by `config`: "" where it could, None where it is not known yet.

        `held` are the addresses that beds at work have.
        """
        trial = self._trials.get(place)
        if trial is None or trial.config != config:
            trial = self._trials[place] = _Trial(config, held())
            self._begin(trial)
        elif trial.why == "":
            del self._trials[place]
        elif trial.ended_s is not None and time.monotonic() - trial.ended_s > AGAIN_S:
            trial.held, trial.ended_s = held(), None
            self._begin(trial)
        return trial.why

    def _begin(self, trial: _Trial) -> None:
        try:
            threading.Thread(target=self._try, args=(trial,), name="trial", daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # no thread is left
            trial.why, trial.ended_s = str(error), time.monotonic()

    def _try(self, trial: _Trial) -> None:
        try:
            self._check(trial.config, trial.held)
            trial.why = ""
        except UserError as error:
            trial.why = str(error)
        except Exception as error:
            _logger.exception("the settings of bed %s", trial.config.name)
            trial.why = f"{type(error).__name__}: {error}"
        trial.ended_s = time.monotonic()

    def _check(self, config: BedConfig, held: Collection[str]) -> None:
        check_addresses(config, held)
        check_lsl(config)
        check_folder(Path(config.keep.folder))
        check_channels(config, self._common.model(config.model).bundle)
