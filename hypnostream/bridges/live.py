"""A bed at work: live from LSL until stopped, kept and published as it goes, reported at the end.

A session that was cut off, by a kill or a crash, is taken up where it was; see `live_session`.
"""

from contextlib import ExitStack, closing
from pathlib import Path

from hypnostream.bridges.bed_check import check_addresses, check_channels, check_folder, check_lsl
from hypnostream.bridges.breathing import is_scored
from hypnostream.bridges.folder_lock import locked
from hypnostream.bridges.keeper import Interrupted, NotTakenUpError
from hypnostream.bridges.live_session import LiveOptions, LiveSession
from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.retention import remove_old_signals
from hypnostream.bridges.session_folder import folder_of
from hypnostream.bridges.stopping import Stop, stopped_by_signals
from hypnostream.bridges.summary import Summary
from hypnostream.errors import UserError


def run_live(options: LiveOptions) -> tuple[Summary, Path]:
    """Stage what comes over LSL until it ends or the process is asked to stop (Ctrl-C, SIGTERM); write the report.

    Returns the summary and the session's folder.
    """
    with stopped_by_signals() as stop:
        return live_session(options, stop)


def live_session(options: LiveOptions, stop: Stop) -> tuple[Summary, Path]:
    """As `run_live`, until `stop` says so."""
    config, keep, around = options.config, options.config.keep, options.around
    _check(options)
    model, parent = around.model(config.model), Path(keep.folder)
    bundle = model.bundle
    check_channels(config, bundle)
    if is_scored(config.breathing):
        _ = model.beliefs  # now: what runs them may take minutes to build, and no stream waits for that

    def opened(required: bool) -> closing[LslSource]:
        return closing(around.open(config.lsl, required, stop))

    while True:
        folder = folder_of(options.out, parent, config.name, bundle.hash, keep.resume_within_s)
        remove_old_signals(parent, keep.max_age_days, keep.max_gb, but=folder.path)
        record = folder.resumable(config.name, bundle.hash, keep.resume_within_s)
        with ExitStack() as stack:
            session = LiveSession(options, model, folder, stop, stack)
            if record is None:
                options.announce(f"looking for LSL streams, for {config.lsl.timeout_s:g} s at most")
                source = stack.enter_context(opened(required=True))
                stack.enter_context(locked(folder.path))
                return session.begin(source)
            stack.enter_context(locked(folder.path))
            try:
                interrupted = Interrupted(folder)
                if record.ending_s is None:
                    options.announce(f"taking up session {record.session_id} in {folder.path}")
                    source = stack.enter_context(opened(required=False))
                    return session.take_up(record, interrupted, source)
                options.announce(f"ending session {record.session_id} in {folder.path}")
                session.end_now(record, interrupted)
            except NotTakenUpError as error:
                options.announce(f"session {record.session_id} in {folder.path} cannot be taken up: {error}")
                folder.give_up(record, f"cannot be taken up: {error}")


def _check(options: LiveOptions) -> None:
    """What can be known to be wrong is said at once, before streams are looked for."""
    check_addresses(options.config)
    check_lsl(options.config)
    if options.out is None:
        check_folder(Path(options.config.keep.folder))
    elif options.out.exists() and not options.out.is_dir():
        raise UserError(f"{options.out} is a file: name a folder for the session")
