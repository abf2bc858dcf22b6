"""A session that is killed, and taken up again: nothing final is lost, and all is as if it had not been killed."""

import random
import subprocess
import time
from pathlib import Path

import pytest

from hypnostream.bridges.client import Client
from hypnostream.bridges.events_table import read_events_table
from hypnostream.bridges.messages import EpochMessage, EventMessage, StatusMessage
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.bridges.tables import read_epochs
from hypnostream.errors import UserError
from tests.bridges.live_bed import SPEED, STOPPED_WITHIN_S, bed_file, monitor, running

EPOCHS = 24


def logged(folder: Path) -> list[EpochMessage | EventMessage | StatusMessage]:
    log = ResultLog(SessionFolder(folder).results_path)
    try:
        return [
            message for message in log.messages() if isinstance(message, EpochMessage | EventMessage | StatusMessage)
        ]
    finally:
        log.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_it_goes_on_and_loses_nothing_final(
    tmp_path: Path, lsl_session_id: str, seed: int
) -> None:
    bed = bed_file(tmp_path, lsl_session_id, minimum=4, lateness_s=4 * SPEED)
    out, moments = tmp_path / "night", random.Random(seed)
    with monitor(lsl_session_id, EPOCHS), Client(f"ipc://{tmp_path}/out", ("epoch", "status")) as client:
        for _ in range(3):
            with running(bed, out, "--record") as process:
                heard = 0
                wanted = moments.randint(1, 4)
                while heard < wanted:
                    message = client.receive(STOPPED_WITHIN_S)
                    assert message is not None, process.stderr and process.stderr.read()
                    heard += isinstance(message, EpochMessage) and message.status == "final"
                time.sleep(moments.random() * 0.5)
                process.kill()
                process.wait()
        with running(bed, out, "--record") as process:
            _, err = process.communicate(timeout=STOPPED_WITHIN_S + EPOCHS * 30 / SPEED)
            assert process.returncode == 0, err
    said = logged(out)
    final = [message for message in said if isinstance(message, EpochMessage)]
    assert [message.epoch for message in final] == list(range(len(final)))
    assert [message.seq for message in final] == list(range(len(final)))
    assert len(final) == EPOCHS
    assert len({message.origin.session_id for message in said}) == 1
    assert len({message.origin.boot_id for message in said}) == 4
    resumed = [message for message in said if isinstance(message, StatusMessage) and message.state == "session_resumed"]
    assert len(resumed) == 3
    assert all(message.seconds is not None and message.seconds > 0 for message in resumed)
    # What was recorded, replayed without any interruption, says the same.
    summary, folder = replay(out, ReplayOptions(out=tmp_path / "replay"))
    assert f"{EPOCHS} of {EPOCHS} epochs came out exactly as they were published live" in summary.notes
    reference = tmp_path / "hypnogram.csv"
    reference.write_text("\n".join(["N2"] * EPOCHS) + "\n")
    compared, _ = replay(out, ReplayOptions(out=tmp_path / "compared", reference=reference))
    assert compared.agreement is not None
    with pytest.raises(UserError, match=r"nofile\.csv is not there"):
        replay(out, ReplayOptions(out=tmp_path / "compared", reference=tmp_path / "nofile.csv"))
    live, replayed = (read_epochs(each / "epochs.parquet")[1] for each in (out, folder))
    assert live == replayed
    events, again = (read_events_table(each / "events.parquet")[1] for each in (out, folder))
    assert [row.event for row in events] == [row.event for row in again]
    revisions = [(m.event_id, m.revision) for m in said if isinstance(m, EventMessage)]
    assert revisions
    assert len(revisions) == len(set(revisions)) == sum(row.revisions for row in again)
    assert [m.seq for m in said if isinstance(m, EventMessage)] == list(range(len(revisions)))
    assert not SessionFolder(out).checkpoint_path.exists()


@pytest.mark.slow
def test_a_session_that_ended_is_not_taken_up(tmp_path: Path, lsl_session_id: str) -> None:
    bed = bed_file(tmp_path, lsl_session_id, minimum=4, lateness_s=4 * SPEED)
    sessions = []
    for _ in range(2):
        with monitor(lsl_session_id, 1), running(bed, tmp_path / "night") as process:
            _, err = process.communicate(timeout=STOPPED_WITHIN_S)
        assert process.returncode == 0, err
        sessions.append(SessionFolder(tmp_path / "night").read().session_id)
    assert len(set(sessions)) == 2
    earlier = tmp_path / "night" / f"earlier-{sessions[0]}"
    assert {"session.json", "results.arrows", "summary.json", "epochs.parquet"} <= {
        path.name for path in earlier.iterdir()
    }


@pytest.mark.slow
def test_a_checkpoint_that_is_garbled_is_no_traceback(tmp_path: Path, lsl_session_id: str) -> None:
    bed = bed_file(tmp_path, lsl_session_id, minimum=4, lateness_s=4 * SPEED)
    with monitor(lsl_session_id, 12), Client(f"ipc://{tmp_path}/out") as client:
        with running(bed, tmp_path / "night") as process:
            while not isinstance(client.receive(STOPPED_WITHIN_S), EpochMessage):
                pass
            process.kill()
            process.wait()
        checkpoint = SessionFolder(tmp_path / "night").checkpoint_path
        checkpoint.write_bytes(checkpoint.read_bytes()[:-20])
        with running(bed, tmp_path / "night") as process:
            try:
                _, err = process.communicate(timeout=STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                pytest.fail("it did not end")
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "cannot be taken up" in err


@pytest.mark.slow
def test_killed_in_its_report_it_is_ended_when_the_bed_starts_again(tmp_path: Path, lsl_session_id: str) -> None:
    """The report cannot be written (its picture's name is taken), as if the process had died in it; then it can."""
    bed = bed_file(tmp_path, lsl_session_id, minimum=4, lateness_s=4 * SPEED)
    out = tmp_path / "night"
    with monitor(lsl_session_id, 2), running(bed, out, "--record") as process:
        while not (out / "results.arrows").exists():
            time.sleep(0.05)
        (out / "hypnogram.png").mkdir()
        _, err = process.communicate(timeout=STOPPED_WITHIN_S)
    assert process.returncode == 2
    assert "start the bed again, which will end it" in err
    record = SessionFolder(out).read()
    assert (record.ending, record.ended_utc) == ("the streams ended", None)
    (out / "hypnogram.png").rmdir()
    bed.write_text(bed.read_text().replace("[lsl]", "[lsl]\ntimeout_s = 0.5"))
    with running(bed, out) as process:
        _, err = process.communicate(timeout=STOPPED_WITHIN_S)
    assert f"ending session {record.session_id}" in err
    assert "no LSL streams matched" in err  # it was ended, and then there was nothing to begin with
    assert SessionFolder(out).read().ended_utc is not None
    assert (out / "summary.json").is_file()
    assert (out / "signals" / "steps.parquet").is_file()
    said = logged(out)
    assert [message.state for message in said if isinstance(message, StatusMessage)].count("session_ended") == 1
    assert [message.epoch for message in said if isinstance(message, EpochMessage)] == [0, 1]
