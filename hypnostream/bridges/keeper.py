"""Keeps a live session so that another process can take it up: each step before it is processed, and with each epoch
a checkpoint.
"""

import logging
import time
from collections.abc import Iterator

from hypnostream.bridges.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from hypnostream.bridges.journal import Journal, journaled_steps, last_segment
from hypnostream.bridges.messages import KEEPING_FAILED, KEEPING_RESTORED
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.engine.bed import Bed
from hypnostream.stream.source import Notice, Step

_logger = logging.getLogger(__name__)


class SessionKeeper:
    """A `run.Keeper` for a session in `folder`. With `record` nothing that came in is ever removed.

    `now_s` is the session's clock at the last step.
    """

    def __init__(self, folder: SessionFolder, publisher: Publisher, record: bool) -> None:
        self._folder, self._publisher, self._record = folder, publisher, record
        self.journal = Journal(folder.journal_path, last_segment(folder.journal_path) + 1)
        self.now_s = 0.0
        self._failed = False
        self._checkpoint_failure: str | None = None

    @property
    def failing(self) -> bool:
        """Whether the disk did not take a step, a checkpoint or a result."""
        return self._failed or self._publisher.log_failed

    def before(self, step: Step) -> None:
        """Write the step down."""
        self.journal.append(step)
        self.now_s = step.now_s

    def epoch_closed(self, bed: Bed, now_s: float) -> None:
        """Begin a new segment and write down all that is remembered; what was needed until now is removed."""
        self.journal.begin(self.journal.segment + 1)
        checkpoint = Checkpoint(
            session_id=self._publisher.origin.session_id,
            segment=self.journal.segment,
            now_s=now_s,
            written_utc_s=time.time(),
            last_seq=self._publisher.last_seq,
            bed=bed.snapshot(),
        )
        try:
            write_checkpoint(self._folder.checkpoint_path, checkpoint)
            self._checkpoint_failure = None
            if not self._record:
                self.journal.forget(before=checkpoint.segment)
        except OSError as error:
            self._checkpoint_failure = error.strerror or str(error)
        self._tell(now_s)

    def close(self) -> None:
        """Let go of the journal."""
        self.journal.close()

    def _tell(self, now_s: float) -> None:
        why = self.journal.failure or self._checkpoint_failure
        if (why is not None) is self._failed:
            return
        self._failed = why is not None
        state = KEEPING_FAILED if self._failed else KEEPING_RESTORED
        _logger.warning("%s: %s: %s", self._folder.path, state, why or "all is on disk again")
        self._publisher.notice(Notice(state, "", now_s, why or ""))


class NotTakenUpError(Exception):
    """A session that was cut off cannot go on; what is wrong with it is in what was written down."""


class Interrupted:
    """A session that was cut off: its last checkpoint, and the steps that were written down since.

    Raises NotTakenUpError when there is no checkpoint that can be read.
    """

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        try:
            self.checkpoint = read_checkpoint(folder.checkpoint_path)
        except (OSError, ValueError) as error:
            raise NotTakenUpError(str(error)) from error
        self.now_s = self.checkpoint.now_s

    def steps(self) -> Iterator[Step]:
        """The steps since the checkpoint. `now_s` is the last one's when all were taken."""
        for step in journaled_steps(self._folder.journal_path, self.checkpoint.segment):
            self.now_s = max(self.now_s, step.now_s)
            yield step

    def silence_s(self, speed: float) -> float:
        """For how long nothing was read, on the wall, once all steps were taken.

        The checkpoint tells what this machine's clock said at a time of the session's; a file's date would not: a new
        journal may have been begun since, by a process that was killed before it read anything.
        """
        last_utc_s = self.checkpoint.written_utc_s + (self.now_s - self.checkpoint.now_s) / speed
        return max(0.0, time.time() - last_utc_s)
