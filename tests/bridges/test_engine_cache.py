"""Engines are built once, judged once, rebuilt when anything they depend on differs, and never loaded from a place that
others can write to."""

import logging
import os
import re
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from hypnostream.bridges.engine_cache import EngineKey, StoredEngine, cache_folder, engine_of
from hypnostream.engine.parity import Parity
from hypnostream.engine.tensorrt_build import Profile
from hypnostream.engine.tensorrt_device import TensorRtError

KEY = EngineKey("c" * 64, "a" * 64, "8.6.1", "NVIDIA H100", "9.0", "fp16", Profile(1, 8, 8))
FAMILY = "stager-epoch"
NAME = f"{FAMILY}-{'c' * 16}-fp16"
OTHERS = {
    "onnx": "d" * 64,
    "graph": "b" * 64,
    "tensorrt": "10.3.0",
    "gpu": "NVIDIA H200",
    "compute_capability": "8.0",
    "precision": "fp32",
    "profile": Profile(1, 16, 16),
}


class Workshop:
    """Builds engines that are plain bytes, and counts."""

    def __init__(self, folder: Path, refused: str = "", outputs: float = 1e-3) -> None:
        self.folder, self.refused, self.outputs = folder, refused, outputs
        self.built = self.judged = 0

    def engine(self, key: EngineKey = KEY) -> StoredEngine:
        return engine_of(self.folder, FAMILY, key, self._build, self._judge)

    def _build(self) -> bytes:
        self.built += 1
        return b"engine %d" % self.built

    def _judge(self, plan: bytes) -> tuple[Parity, str]:
        self.judged += 1
        return Parity(960, self.outputs, 1e-3, 1.0), self.refused


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "cache" / "engines")


def test_the_second_time_it_is_read_and_not_judged_again(workshop: Workshop) -> None:
    first = workshop.engine()
    assert workshop.engine() == first
    assert (workshop.built, workshop.judged) == (1, 1)
    assert stat.S_IMODE(workshop.folder.stat().st_mode) == 0o700
    assert {path.name for path in workshop.folder.iterdir()} == {f"{NAME}.engine", f"{NAME}.json"}


def test_a_field_is_there_for_each_of_the_key() -> None:
    assert set(OTHERS) == set(EngineKey.__struct_fields__)


@pytest.mark.parametrize("field", sorted(OTHERS))
def test_what_differs_is_built_again_and_said(workshop: Workshop, field: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hypnostream.tensorrt")
    workshop.engine()
    assert "there is none yet" in caplog.text
    caplog.clear()
    workshop.engine(replace(KEY, **{field: OTHERS[field]}))
    assert workshop.built == 2
    assert re.search(rf"{field}(\.most)? was ", caplog.text)
    assert caplog.text.count(" was ") == 1


def test_more_room_than_is_asked_for_is_no_reason_to_build_again(workshop: Workshop) -> None:
    first = workshop.engine()
    assert workshop.engine(replace(KEY, profile=Profile(1, 1, 1))) == first
    assert workshop.built == 1
    assert KEY.lacks(replace(KEY, profile=Profile(1, 16, 16))) == "profile.most was 8, is 16"
    assert replace(KEY, profile=Profile(8, 8, 8)).lacks(KEY) == "profile.least was 8, is 1"


@pytest.mark.parametrize("content", [b"", b"engine 2", b"engine 1 and more"])
def test_a_file_that_is_not_the_judged_one_is_built_again(workshop: Workshop, content: bytes) -> None:
    workshop.engine()
    (workshop.folder / f"{NAME}.engine").write_bytes(content)
    assert workshop.engine().plan == b"engine 2"
    assert workshop.judged == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"key": 3}'])
def test_a_manifest_that_cannot_be_read_is_made_again(workshop: Workshop, content: bytes) -> None:
    workshop.engine()
    (workshop.folder / f"{NAME}.json").write_bytes(content)
    workshop.engine()
    assert workshop.built == 2


def test_a_missing_file_is_made_again(workshop: Workshop) -> None:
    workshop.engine()
    (workshop.folder / f"{NAME}.engine").unlink()
    assert workshop.engine().plan == b"engine 2"


def test_a_verdict_is_kept_with_its_reason(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "engines", refused="decides alike in 12.00% of 960 epochs, 99.9% are needed")
    workshop.engine()
    assert workshop.engine().manifest.refused == workshop.refused
    assert workshop.judged == 1


@pytest.mark.parametrize("outputs", [float("nan"), float("inf")])
def test_a_verdict_of_no_finite_number_is_kept_too(tmp_path: Path, outputs: float) -> None:
    workshop = Workshop(tmp_path / "engines", "outputs differ by no finite number", outputs)
    workshop.engine()
    again = workshop.engine().manifest
    assert (workshop.built, again.refused, again.parity.outputs) == (1, workshop.refused, None)


def test_an_engine_of_another_precision_is_left_and_the_newest_is_what_is_compared_with(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hypnostream.tensorrt")
    workshop.engine()
    newer = replace(KEY, onnx="e" * 64)
    workshop.engine(newer)
    os.utime(workshop.folder / f"{NAME}.json", (1, 1))
    (workshop.folder / f"{FAMILY}-2-epoch-{'f' * 16}-fp16.json").write_bytes(b"of another family, and newer")
    (workshop.folder / f"{FAMILY}-{'f' * 16}-fp16.json").write_bytes(b"not to be read")
    caplog.clear()
    workshop.engine(replace(newer, precision="fp32", tensorrt="10.3.0"))
    assert (
        caplog.records[0]
        .getMessage()
        .endswith(
            "there is none for it yet, and the newest of stager-epoch is another: "
            "tensorrt was 8.6.1, is 10.3.0; precision was fp16, is fp32"
        )
    )
    workshop.engine()
    workshop.engine(newer)
    assert workshop.built == 3


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755])
def test_a_folder_that_is_open_to_others_is_refused(workshop: Workshop, mode: int) -> None:
    workshop.engine()
    workshop.folder.chmod(mode)
    with pytest.raises(TensorRtError, match="open to others"):
        workshop.engine()


def test_a_link_to_another_folder_is_refused(workshop: Workshop) -> None:
    elsewhere = workshop.folder.parent / "elsewhere"
    elsewhere.mkdir(parents=True, mode=0o700)
    workshop.folder.symlink_to(elsewhere)
    with pytest.raises(TensorRtError, match="no folder of this user's own"):
        workshop.engine()


def test_a_place_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TensorRtError, match="cannot be made"):
        Workshop(tmp_path / "file" / "engines").engine()


def test_the_folder_is_the_user_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hypnostream" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/not/allowed")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "hypnostream" / "engines"
