"""A bed at work: live from LSL until stopped, kept and published as it goes, reported at the end.

A session that was cut off, by a kill or a crash, is taken up where it was; see `live_session`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hypnostream.bridges.address import bindable, replay_address_of
from hypnostream.bridges.folder_lock import locked
from hypnostream.bridges.keeper import Interrupted, NotTakenUpError
from hypnostream.bridges.live_session import LiveOptions, LiveSession
from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.lsl_settings import LslSettings
from hypnostream.bridges.replay import bundle_of
from hypnostream.bridges.retention import remove_old_signals
from hypnostream.bridges.session_folder import folder_of
from hypnostream.bridges.stopping import stopped_by_signals
from hypnostream.bridges.summary import Summary
from hypnostream.config import LslSection
from hypnostream.errors import UserError


def run_live(options: LiveOptions) -> tuple[Summary, Path]:
    """Stage what comes over LSL until it ends or the process is asked to stop (Ctrl-C, SIGTERM); write the report.

    Returns the summary and the session's folder.
    """
    config, keep = options.config, options.config.keep
    bundle, parent = bundle_of(config), Path(options.config.keep.folder)
    _check(options)
    with stopped_by_signals() as stop:
        while True:
            folder = folder_of(options.out, parent, config.name, bundle.hash, keep.resume_within_s)
            remove_old_signals(parent, keep.max_age_days, keep.max_gb, but=folder.path)
            record = folder.resumable(config.name, bundle.hash, keep.resume_within_s)
            with ExitStack() as stack:
                session = LiveSession(options, bundle, folder, stop, stack)
                if record is None:
                    options.announce(f"looking for LSL streams, for {config.lsl.timeout_s:g} s at most")
                    source = stack.enter_context(_opened(config.lsl, required=True))
                    stack.enter_context(locked(folder.path))
                    return session.begin(source)
                stack.enter_context(locked(folder.path))
                try:
                    interrupted = Interrupted(folder)
                    if record.ending_s is None:
                        options.announce(f"taking up session {record.session_id} in {folder.path}")
                        source = stack.enter_context(_opened(config.lsl, required=False))
                        return session.take_up(record, interrupted, source)
                    options.announce(f"ending session {record.session_id} in {folder.path}")
                    session.end_now(record, interrupted)
                except NotTakenUpError as error:
                    options.announce(f"session {record.session_id} in {folder.path} cannot be taken up: {error}")
                    folder.give_up(record, f"cannot be taken up: {error}")


def _check(options: LiveOptions) -> None:
    """What can be known to be wrong is said at once, before streams are looked for."""
    publish = options.config.publish
    open_to_others = publish.insecure or publish.keys is not None
    bindable(publish.address, insecure=open_to_others)
    bindable(publish.replay or replay_address_of(publish.address), insecure=open_to_others)
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise UserError(f"{options.out} is a file: name a folder for the session")


def open_lsl(section: LslSection, required: bool = True) -> LslSource:
    """Find the streams of a bed's configuration. Raises UserError when there are none, unless that is allowed."""
    settings = LslSettings(
        predicates=section.predicates,
        minimum=section.minimum,
        resolve_timeout_s=section.timeout_s,
        max_silence_s=section.max_silence_s,
        private_session=section.private_session,
        known_peers=section.known_peers,
        backlog_bytes=round(1e6 * section.backlog_mb),
    )
    return LslSource(settings, required)


@contextmanager
def _opened(section: LslSection, required: bool) -> Iterator[LslSource]:
    source = open_lsl(section, required)
    try:
        yield source
    finally:
        source.close()
