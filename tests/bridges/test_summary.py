import hashlib
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hypnostream.bridges.summary import (
    ModelSummary,
    Summary,
    count_epochs,
    describe_channels,
    describe_file,
    encode_summary,
    installed_versions,
    read_summary,
)
from hypnostream.engine.agreement import agreement
from hypnostream.engine.sleep_statistics import sleep_statistics
from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec, Derivation, Montage, Term
from hypnostream.stream.source import ChannelInfo, StreamInfo
from hypnostream.stream.stages import stage_codes
from tests.bridges.nights import night

SPECS = tuple(ChannelSpec(name, name[:3], "uV", 100, ("C4-M1",)) for name in ("eeg_frontal", "eog", "spo2"))
STREAM = StreamInfo("edf-256", 256.0, (ChannelInfo("C4", "uV"), ChannelInfo("M1", "µV"), ChannelInfo("E1", "V")))
MONTAGE = Montage(
    specs=SPECS,
    derivations=(
        Derivation(SPECS[1], "edf-256", (Term(2, 1e6),), "E1", "E1 is the first choice"),
        Derivation(SPECS[0], "edf-256", (Term(0, 1.0), Term(1, -1.0)), "C4-M1", "C4 and M1 are both there"),
    ),
    missing=(("spo2", "no channel is called like an oximeter"),),
    notes=("two channels are called C4",),
)


def summary_of(stages: str, **changes: Any) -> Summary:
    results = night(stages)
    codes = stage_codes(result.stage for result in results)
    content: dict[str, Any] = {
        "versions": installed_versions(),
        "session_id": "a1b2",
        "input": None,
        "start_utc": datetime(2026, 3, 28, 22, 41, tzinfo=UTC),
        "channels": describe_channels(MONTAGE, [STREAM], results),
        "notes": list(MONTAGE.notes),
        "epochs": count_epochs(results),
        "sleep": sleep_statistics(codes),
        "model": ModelSummary(name="stager 1.0", hash="9f" * 32, backend="onnxruntime", scoring_rule="AASM"),
        "timings": {"total_s": 2.5},
        "warnings": ["the file ends 3 s early"],
        "agreement": agreement(codes, codes),
    }
    return Summary(**content | changes)


@pytest.mark.parametrize("stages", ["", "...", "www", "w1223..r", "2222"])
def test_a_summary_comes_back_from_json_and_holds_no_nan(tmp_path: Path, stages: str) -> None:
    summary = summary_of(stages)
    path = tmp_path / "summary.json"
    path.write_bytes(encode_summary(summary))
    assert read_summary(path) == summary

    def refuse(name: str) -> None:
        pytest.fail(f"{name} in JSON")

    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_number_that_is_not_finite_is_null_in_json() -> None:
    encoded = encode_summary(summary_of("w", timings={"total_s": float("nan")}))
    assert json.loads(encoded)["timings"] == {"total_s": None}


def test_what_a_program_reads_stands_under_these_names() -> None:
    content = json.loads(encode_summary(summary_of("w12.r", input=None)))
    assert content["schema"] == "hypnostream.summary"
    assert content["notice"] == "not a medical device"
    assert content["epochs"] == {"total": 5, "staged": 4, "absent": {"no_data": 1}}
    assert content["sleep"]["total_sleep_min"] == 1.5
    assert content["agreement"]["confusion"][0] == [1, 0, 0, 0, 0]
    assert content["agreement"]["stages"]["N3"]["f1"] is None
    assert content["start_utc"] == "2026-03-28T22:41:00Z"
    assert content["versions"]["python"] == platform.python_version()
    assert "onnxruntime" in content["versions"]


def test_every_channel_says_what_it_is_made_of_or_why_it_is_not() -> None:
    eeg, eog, spo2 = describe_channels(MONTAGE, [STREAM], night("2" * 40))
    assert (eeg.name, eeg.label, eeg.sources, eeg.units, eeg.rate_hz) == (
        "eeg_frontal",
        "C4-M1",
        ("C4", "M1"),
        ("uV", "µV"),
        256.0,
    )
    assert (eog.sources, eog.units, eog.why) == (("E1",), ("V",), "E1 is the first choice")
    assert (spo2.found, spo2.label, spo2.why) == (False, None, "no channel is called like an oximeter")
    assert eeg.epochs_by_quality == {"ok": 20, "missing": 20}
    assert eeg.ok_fraction == pytest.approx((20 * 1.0 + 20 * 0.25) / 40)
    assert eeg.epochs_imputed == 20


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "night of J. Doe.edf"
    path.write_bytes(b"0" * 300_000)
    described = describe_file(path)
    assert (described.name, described.size_bytes) == (path.name, 300_000)
    assert described.sha256 == hashlib.sha256(b"0" * 300_000).hexdigest()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"schema": "other"}'])
def test_a_file_that_is_no_summary_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "summary.json"
    with pytest.raises(UserError, match="cannot be read"):
        read_summary(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"summary\.json cannot be read") as error:
        read_summary(path)
    assert "\n" not in str(error.value)
