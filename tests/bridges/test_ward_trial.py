"""What a ward holds on to: a bed at work whose file says what cannot begin, and its loop, whatever it is told."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hypnostream.bridges import bed_check, ward_surroundings, ward_trial
from hypnostream.bridges.key_files import new_keys
from hypnostream.bridges.messages import BED_FAILED, BED_REFUSED
from hypnostream.bridges.model import Model
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.run import Sink
from hypnostream.bridges.surroundings import load_model
from hypnostream.bridges.ward import Ward, WardOptions
from hypnostream.bridges.ward_files import Beds
from hypnostream.bridges.ward_surroundings import Common
from hypnostream.bridges.ward_tally import WardTally
from hypnostream.bridges.ward_trial import Trials
from hypnostream.config import BedConfig, ModelSection, bed_config
from hypnostream.errors import UserError
from hypnostream.stream.source import Notice

WITHIN_S = 30.0


class Told(WardTally):
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Notice] = []

    def notice(self, notice: Notice) -> None:
        self.said.append(notice)

    def of(self, kind: str) -> list[tuple[str, str]]:
        return [(notice.subject, notice.detail) for notice in self.said if notice.kind == kind]


@pytest.fixture
def common() -> Iterator[Common]:
    with Common(2) as common:
        yield common


def bed(tmp_path: Path, **keys: object) -> BedConfig:
    """A bed that looks for streams of which there are none."""
    own = {
        "name": "3",
        "lsl": {"private_session": "no-one-sends", "timeout_s": 60.0},
        "publish": {"address": f"ipc://{tmp_path}/3"},
        "keep": {"folder": str(tmp_path / "nights")},
    }
    return bed_config(own | keys, tmp_path / "3.toml")


def ward_of(common: Common, *sinks: Sink) -> Ward:
    return Ward(WardOptions(Path("ward.toml"), lambda line: None), common, list(sinks))


def until(ward: Ward, reached: Callable[[], bool]) -> None:
    """The ward is tended until something is so."""
    deadline_s = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < deadline_s
        ward.tend()
        ward.beat(time.monotonic())
        threading.Event().wait(0.01)


def ended(ward: Ward) -> None:
    ward.end()
    until(ward, lambda: ward.over)


WRONG: list[tuple[dict[str, object], str]] = [
    ({"publish": {"address": "tcp://0.0.0.0:5700"}}, "address 'tcp://0.0.0.0:5700' is not one that only this machine"),
    ({"publish": {"address": "tcp://127.0.0.1:5700", "keys": "nowhere"}}, "nowhere"),
    ({"channels": {"eeg_fontal": "F4-M1"}}, "'eeg_fontal' is no input of this model, which has eeg_frontal"),
    ({"model": {"bundle": "nowhere"}}, "nowhere is no bundle"),
    ({"metrics": {"address": "0.0.0.0:9464"}}, "metrics address '0.0.0.0:9464' is not one"),
    ({"lsl": {"private_session": "a b"}}, "LSL session id 'a b' is not"),
    ({"lsl": {"known_peers": ["a b"]}}, "LSL peer 'a b' is neither"),
    ({"keep": {"folder": f"{__file__}/nights"}}, "is a file; name a folder"),
]


@pytest.mark.parametrize(("keys", "words"), WRONG, ids=[words[:20] for _, words in WRONG])
def test_a_bed_at_work_stays_while_its_file_says_what_cannot_begin(
    tmp_path: Path, common: Common, keys: dict[str, object], words: str
) -> None:
    told = Told()
    ward = ward_of(common, told)
    ward.follow(Beds({"beds/3.toml": bed(tmp_path)}))
    until(ward, lambda: ward.tally.health().waiting == ("3",))
    at_work = ward.tally.beds["3"]
    ward.follow(Beds({"beds/3.toml": bed(tmp_path, **keys)}))
    until(ward, lambda: ward.tally.refused == ("beds/3.toml",))
    for _ in range(5):
        ward.tend()
    ((place, why),) = told.of(BED_REFUSED)
    assert place == "beds/3.toml"
    assert words in why
    assert ward.tally.beds["3"] is at_work
    mended = bed(tmp_path, publish={"address": f"ipc://{tmp_path}/mended"})
    ward.follow(Beds({"beds/3.toml": mended}))
    until(ward, lambda: ward.tally.beds.get("3") not in (None, at_work))
    assert ward.tally.refused == ()
    ended(ward)


def test_a_name_that_a_bed_at_work_keeps_is_not_free(tmp_path: Path, common: Common) -> None:
    ward = ward_of(common)
    ward.follow(Beds({"beds/3.toml": bed(tmp_path)}))
    until(ward, lambda: "3" in ward.tally.beds)
    at_work = ward.tally.beds["3"]
    other = bed(tmp_path, publish={"address": f"ipc://{tmp_path}/other"})
    ward.follow(Beds({"beds/3.toml": bed(tmp_path, name="4", channels={"nose": "F4"}), "beds/other.toml": other}))
    until(ward, lambda: ward.tally.refused == ("beds/3.toml",))
    assert ward.tally.beds == {"3": at_work}
    ward.follow(Beds({"beds/3.toml": bed(tmp_path, name="4"), "beds/other.toml": other}))
    until(ward, lambda: set(ward.tally.beds) == {"3", "4"} and ward.tally.beds["3"] is not at_work)
    ended(ward)


def test_what_is_mended_beside_the_file_takes_effect(
    tmp_path: Path, common: Common, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ward_trial, "AGAIN_S", 0.01)
    told = Told()
    ward = ward_of(common, told)
    ward.follow(Beds({"beds/3.toml": bed(tmp_path)}))
    until(ward, lambda: "3" in ward.tally.beds)
    at_work = ward.tally.beds["3"]
    keys = {"address": "tcp://127.0.0.1:0", "keys": str(tmp_path / "keys")}
    ward.follow(Beds({"beds/3.toml": bed(tmp_path, publish=keys)}))
    until(ward, lambda: ward.tally.refused == ("beds/3.toml",))
    new_keys(tmp_path / "keys", "server")
    until(ward, lambda: ward.tally.beds.get("3") not in (None, at_work))
    assert len(told.of(BED_REFUSED)) == 1
    ended(ward)


def test_an_address_that_beds_hold_themselves_is_not_in_use(tmp_path: Path, common: Common) -> None:
    config = bed(tmp_path, channels={"eog": "E1"})
    trials = Trials(common)
    with Publisher(config.publish.address, model_hash="", backend=""):
        held = verdict(trials, config, frozenset({config.publish.address}))
        assert held == ""
        assert "is in use" in verdict(trials, config, frozenset())


def test_a_trial_that_hangs_holds_up_no_other(tmp_path: Path, common: Common, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()
    check = bed_check.check_folder
    monkeypatch.setattr(ward_trial, "check_folder", lambda path: hung.wait() if "hung" in str(path) else check(path))
    trials = Trials(common)
    assert trials.why_not("4", bed(tmp_path, keep={"folder": "hung"}), frozenset) is None
    assert verdict(trials, bed(tmp_path), frozenset()) == ""
    hung.set()


def test_a_trial_for_which_there_is_no_thread_is_made_later(
    tmp_path: Path, common: Common, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ward_trial, "AGAIN_S", 0.01)
    trials, config = Trials(common), bed(tmp_path)
    before = threading.stack_size(1 << 45)
    try:
        assert trials.why_not("3", config, frozenset) == "can't start new thread"
    finally:
        threading.stack_size(before)
    deadline_s = time.monotonic() + WITHIN_S
    while trials.why_not("3", config, frozenset) != "":
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.01)


def verdict(trials: Trials, config: BedConfig, held: frozenset[str]) -> str:
    deadline_s = time.monotonic() + WITHIN_S
    while (why := trials.why_not("3", config, lambda: held)) is None:
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.01)
    return why


class Deaf(WardTally):
    """A sink that cannot be told anything."""

    def notice(self, notice: Notice) -> None:
        raise ValueError(notice.subject)

    def heartbeat(self, now_s: float) -> None:
        raise OSError("no one is there")


def test_what_a_notice_holds_never_ends_the_ward(tmp_path: Path, common: Common) -> None:
    told = Told()
    with Publisher(f"ipc://{tmp_path}/status", model_hash="none", backend="none") as publisher:
        ward = ward_of(common, Deaf(), publisher, told)
        ward.follow(Beds({}, {"beds/zimmer-\udce4.toml": "its name \udce4 is not UTF-8"}, ("beds/zimmer-\udce4.toml",)))
        ward.tend()
        ward.beat(time.monotonic())
        ward.beat(time.monotonic())
    assert told.of(BED_REFUSED) == [("beds/zimmer-\\udce4.toml", "its name \\udce4 is not UTF-8")]
    assert ward.tally.refused == ("beds/zimmer-\\udce4.toml",)


def test_a_bed_for_which_there_is_no_thread_begins_later(
    tmp_path: Path, common: Common, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypnostream.bridges.ward_bed.PAUSES_S", (0.01,) * 5)
    told = Told()
    ward = ward_of(common, told)
    ward.follow(Beds({"beds/3.toml": bed(tmp_path)}))
    before = threading.stack_size(1 << 45)  # more than there is: no thread can begin
    try:
        until(ward, lambda: bool(told.of(BED_FAILED)))
        assert ward.tally.wanted == 1
    finally:
        threading.stack_size(before)
    until(ward, lambda: ward.tally.health().waiting == ("3",) and ward.tally.beds["3"].health().state == "starting")
    ((name, why),) = told.of(BED_FAILED)
    assert (name, why.partition(":")[0]) == ("3", "can't start new thread")
    ended(ward)


def test_a_model_that_takes_long_to_load_holds_up_no_other(common: Common, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, loaded = threading.Event(), threading.Event()

    def load(section: ModelSection, beds: int) -> Model:
        if section.backend == "tensorrt":
            begun.set()
            assert loaded.wait(WITHIN_S)
            raise UserError("no engine could be built")
        return load_model(section, beds)

    monkeypatch.setattr(ward_surroundings, "load_model", load)
    slow = ModelSection(backend="tensorrt")
    failed: list[str] = []

    def wait() -> None:
        try:
            common.model(slow)
        except UserError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(WITHIN_S)
    other = common.model(ModelSection())
    assert other is common.model(replace(ModelSection(), provisional=False))
    assert common.reader(BedConfig().lsl) is common.reader(BedConfig().lsl)
    loaded.set()
    for thread in threads:
        thread.join(WITHIN_S)
    assert failed == ["no engine could be built"] * 2
