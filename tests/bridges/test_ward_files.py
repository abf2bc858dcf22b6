"""A ward's files: what they give, what is wrong with them in one line, and what holds meanwhile."""

import os
from itertools import count
from pathlib import Path

import pytest

from hypnostream.bridges import doctor_ward, ward_files
from hypnostream.bridges.doctor import PROBLEM, worst
from hypnostream.bridges.doctor_ward import examine_ward
from hypnostream.bridges.ward_config import load_ward
from hypnostream.bridges.ward_files import EMPTY_LOOKS, GONE_LOOKS, Beds, WardFiles
from hypnostream.config import load_config
from hypnostream.errors import UserError
from tests.documentation import ROOT

TICKS = count(1)


def written(path: Path, text: str) -> Path:
    """Two writes within a tick of the file system's clock are two here."""
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + next(TICKS) * 1_000_000))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ward of a folder with two beds."""
    beds = tmp_path / "beds"
    beds.mkdir()
    written(tmp_path / "ward.toml", f'beds = "{beds}"\n[publish]\naddress = "ipc://{tmp_path}/{{bed}}"\n')
    written(beds / "1.toml", "")
    written(beds / "2.toml", 'name = "bed 2"\n[lsl]\ntimeout_s = 5.0\n')
    return tmp_path


def settled(files: WardFiles) -> Beds:
    """A file that changed is taken at the second look."""
    first, second = files.look(), files.look()
    return Beds(second.beds, {**first.wrong, **second.wrong}, second.refused)


def looked(files: WardFiles, times: int) -> Beds:
    """What the last of so many looks found."""
    return [files.look() for _ in range(times)][-1]


def names(beds: Beds) -> list[str]:
    return [bed.name for bed in beds.beds.values()]


def test_a_bed_says_what_it_does_not_share(tmp_path: Path) -> None:
    path = written(
        tmp_path / "ward.toml",
        """[lsl]
private_session = "ward"
timeout_s = 5.0
[publish]
address = "ipc:///run/{bed}"
replay = "ipc:///run/{bed}-missed"
[channels]
eog = "E1"
[[bed]]
name = "bed 1"
lsl = { timeout_s = 7.0, predicate = "name='a'" }
channels = { eeg_frontal = "F4-M1" }
[[bed]]
name = "bed 2"
publish = { address = "tcp://127.0.0.1:5600" }
""",
    )
    one, two = load_ward(path).beds.values()
    assert (one.lsl.private_session, one.lsl.timeout_s, one.lsl.predicates) == ("ward", 7.0, ("name='a'",))
    assert (one.publish.address, one.publish.replay) == ("ipc:///run/bed-1", "ipc:///run/bed-1-missed")
    assert one.channels == {"eog": "E1", "eeg_frontal": "F4-M1"}
    assert (two.name, two.lsl.timeout_s, two.publish.address) == ("bed 2", 5.0, "tcp://127.0.0.1:5600")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bed = 3\n", "Expected `array`, got `int` - at `$.bed`"),
        ("beds = 'b'\nbads = 1\n", "contains unknown field `bads`"),
        ("beds = 'b'\n[lsl]\npredicat = ''\n", "contains unknown field `predicat` - at `$.lsl`"),
        ("[[bed]]\nname = 'a'\nlsl = { predicat = '' }\n", "bed 'a': Object contains unknown field `predicat`"),
        ("[[bed]]\n", "bed 1 has no name"),
        ("[[bed]]\nname = 'a'\n[[bed]]\nname = 'a'\n", "two beds are called 'a'"),
        ("[[bed]]\nname = 'a'\npublish = { address = 'tcp://127.0.0.1:65535' }\n", "has no next port"),
        ("bed = []\n", "has no beds"),
        ('beds = "a\\u0000b"\n', r"beds 'a\x00b' holds a NUL"),
        ('name = "\\u001b[2J"\nbeds = "b"\n', r"name '\x1b[2J' holds control characters"),
        ("beds = 'nowhere'\n", "folder nowhere cannot be read"),
    ],
)
def test_what_is_wrong_with_a_ward_is_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as said:
        WardFiles(written(tmp_path / "ward.toml", text))
    assert words in str(said.value)
    assert "\n" not in str(said.value)


def test_a_folder_has_a_bed_a_file_named_after_it(folder: Path) -> None:
    first = WardFiles(folder / "ward.toml").first
    assert names(first) == ["1", "bed 2"]
    assert [bed.publish.address for bed in first.beds.values()] == [f"ipc://{folder}/1", f"ipc://{folder}/bed-2"]
    assert [bed.lsl.timeout_s for bed in first.beds.values()] == [10.0, 5.0]
    assert not first.wrong


def test_beds_come_change_and_go_with_their_files(folder: Path) -> None:
    files = WardFiles(folder / "ward.toml")
    written(folder / "beds" / "3.toml", "")
    assert names(files.look()) == ["1", "bed 2"]  # it may still be being written
    assert names(files.look()) == ["1", "bed 2", "3"]
    written(folder / "beds" / "1.toml", 'name = "one"\n')
    (folder / "beds" / "2.toml").unlink()
    assert names(looked(files, GONE_LOOKS - 1)) == ["one", "bed 2", "3"]  # it may be being replaced
    assert names(files.look()) == ["one", "3"]
    written(folder / "ward.toml", (folder / "ward.toml").read_text() + "[lsl]\ntimeout_s = 3.0\n")
    assert [bed.lsl.timeout_s for bed in settled(files).beds.values()] == [3.0, 3.0]


@pytest.mark.parametrize("wrong", ["beds/2.toml", "ward.toml"])
def test_a_file_that_is_wrong_is_said_once_and_what_it_said_before_holds(folder: Path, wrong: str) -> None:
    files = WardFiles(folder / "ward.toml")
    right = (folder / wrong).read_text()
    written(folder / wrong, right + "lateness = 3\n")
    found = settled(files)
    assert list(found.wrong) == [str(folder / wrong)]
    assert "lateness" in found.wrong[str(folder / wrong)]
    assert found.beds == files.first.beds
    assert not settled(files).wrong
    written(folder / wrong, right)
    assert settled(files) == files.first
    written(folder / wrong, right + "lateness = 3\n")
    assert list(settled(files).wrong) == [str(folder / wrong)]  # it is wrong again


def test_a_bed_that_clashes_with_one_at_work_is_refused_whichever_comes_first(folder: Path) -> None:
    files = WardFiles(folder / "ward.toml")
    written(folder / "beds" / "0.toml", 'name = "bed 2"\n')
    found = settled(files)
    assert found.beds == files.first.beds
    place = str(folder / "beds" / "0.toml")
    assert found.wrong == {
        place: f"{place}: the name 'bed 2' is that of {folder}/beds/2.toml too; give each its own, or an address with "
        "{bed} in it"
    }
    written(folder / "beds" / "0.toml", f'[publish]\naddress = "ipc://{folder}/1-replay"\n')
    assert "address ipc://" in settled(files).wrong[place]
    written(folder / "beds" / "0.toml", "")
    assert names(settled(files)) == ["0", "1", "bed 2"]


def test_the_ward_s_metrics_are_its_own_and_no_bed_s(folder: Path) -> None:
    ward = (folder / "ward.toml").read_text()
    written(folder / "ward.toml", f'{ward}[metrics]\naddress = "127.0.0.1:9464"\n')
    written(folder / "beds" / "2.toml", '[metrics]\naddress = "127.0.0.1:9464"\n')
    files = WardFiles(folder / "ward.toml")
    assert files.ward.ward.metrics.address == "127.0.0.1:9464"
    assert [bed.metrics.address for bed in files.first.beds.values()] == [None]
    place = str(folder / "beds" / "2.toml")
    assert f"address 127.0.0.1:9464 is that of {folder}/ward.toml too" in files.first.wrong[place]
    assert files.first.refused == settled(files).refused == (place,)
    written(folder / "beds" / "2.toml", '[metrics]\naddress = "127.0.0.1:9465"\n')
    found = settled(files)
    assert [bed.metrics.address for bed in found.beds.values()] == [None, "127.0.0.1:9465"]
    assert not found.refused


def test_a_folder_that_is_away_for_a_moment_ends_no_bed(folder: Path) -> None:
    files = WardFiles(folder / "ward.toml")
    (folder / "beds").rename(folder / "elsewhere")
    found = settled(files)
    assert found.beds == files.first.beds
    assert "cannot be read" in found.wrong[str(folder / "beds")]
    (folder / "elsewhere").rename(folder / "beds")
    assert settled(files) == files.first


def test_a_file_that_is_away_for_a_look_ends_no_bed(folder: Path) -> None:
    files = WardFiles(folder / "ward.toml")
    for _ in range(GONE_LOOKS + 1):  # it is never away for long
        (folder / "beds" / "2.toml").rename(folder / "2")
        assert looked(files, GONE_LOOKS - 1) == files.first
        (folder / "2").rename(folder / "beds" / "2.toml")
        assert settled(files) == files.first


def test_a_folder_that_is_suddenly_empty_ends_no_bed_for_a_minute(folder: Path) -> None:
    files = WardFiles(folder / "ward.toml")
    (folder / "beds").rename(folder / "elsewhere")
    (folder / "beds").mkdir()
    found = looked(files, EMPTY_LOOKS - 1)
    assert (found.beds, found.refused) == (files.first.beds, (str(folder / "beds"),))
    (folder / "elsewhere" / "1.toml").rename(folder / "beds" / "1.toml")  # it is filled again, file by file
    assert files.look() == files.first
    (folder / "elsewhere" / "2.toml").rename(folder / "beds" / "2.toml")
    assert settled(files) == files.first
    for path in (folder / "beds").iterdir():
        path.unlink()
    first = files.look()
    assert "is empty, as where a disk is away" in first.wrong[str(folder / "beds")]
    assert names(looked(files, EMPTY_LOOKS - 2)) == ["1", "bed 2"]
    assert files.look() == Beds({})


def test_a_bed_whose_file_is_renamed_moves_at_once(folder: Path) -> None:
    files = WardFiles(folder / "ward.toml")
    (folder / "beds" / "2.toml").rename(folder / "beds" / "two.toml")
    found = settled(files)
    assert list(found.beds) == [str(folder / "beds" / "1.toml"), str(folder / "beds" / "two.toml")]
    assert not found.wrong


def test_a_name_that_is_not_utf_8_is_refused_and_the_others_begin(folder: Path) -> None:
    name = os.fsdecode(b"zimmer-\xe4.toml")
    try:
        written(folder / "beds" / name, "")
    except OSError:
        pytest.skip("this file system has no such names")
    first = WardFiles(folder / "ward.toml").first
    assert names(first) == ["1", "bed 2"]
    place = f"{folder}/beds/zimmer-\\udce4.toml"
    assert first.refused == (place,)
    assert first.wrong[place] == f"config {place}: its name is not UTF-8, which a bed's name must be. Rename it."


def test_a_link_that_leads_nowhere_is_refused(folder: Path) -> None:
    link = folder / "beds" / "3.toml"
    link.symlink_to(folder / "nowhere.toml")
    files = WardFiles(folder / "ward.toml")
    assert "cannot be read: No such file" in files.first.wrong[str(link)]
    assert files.look().refused == (str(link),)
    written(folder / "nowhere.toml", "")
    assert names(settled(files)) == ["1", "bed 2", "3"]


def test_an_edit_that_keeps_time_and_size_is_taken(folder: Path) -> None:
    path = folder / "beds" / "2.toml"
    files, before = WardFiles(folder / "ward.toml"), path.stat()
    path.write_text(path.read_text().replace("5.0", "6.0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [bed.lsl.timeout_s for bed in settled(files).beds.values()] == [10.0, 6.0]


@pytest.mark.parametrize("text", ['beds = "a\\u0000b"\n', "", "[lsl]\n"], ids=["a path of none", "cut off", "no beds"])
def test_a_ward_s_file_that_names_no_beds_any_more_ends_none(folder: Path, text: str) -> None:
    files = WardFiles(folder / "ward.toml")
    written(folder / "ward.toml", text)
    found = settled(files)
    assert found.beds == files.first.beds
    assert found.refused == (str(folder / "ward.toml"),)
    with pytest.raises(UserError, match=r"beds 'a\\x00b' holds a NUL|has no beds"):
        WardFiles(folder / "ward.toml")


def test_whatever_keeps_the_files_from_being_looked_at_ends_no_bed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = WardFiles(folder / "ward.toml")
    with monkeypatch.context() as broken:
        broken.setattr(ward_files, "_in_folder", lambda folder: [folder / 3])
        found = files.look()
        assert found.beds == files.first.beds
        assert "cannot be looked at: TypeError" in found.wrong[str(folder / "ward.toml")]
        assert files.look() == Beds(files.first.beds, {}, found.refused)  # it is said once
    assert files.look() == files.first


def test_wrong_beds_do_not_keep_the_others_from_beginning(folder: Path) -> None:
    written(folder / "beds" / "1.toml", "name = ")
    first = WardFiles(folder / "ward.toml").first
    assert names(first) == ["bed 2"]
    assert "is not TOML" in first.wrong[str(folder / "beds" / "1.toml")]


def test_the_doctor_says_what_is_wrong_with_which_bed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder / "beds" / "1.toml", "[lsl]\npredicat = 3\n")
    written(folder / "beds" / "2.toml", '[publish]\naddress = "tcp://192.0.2.7:5600"\n[channels]\neeg_fontal = "F4"\n')
    written(folder / "ward.toml", (folder / "ward.toml").read_text() + '[metrics]\naddress = "192.0.2.7:9464"\n')
    monkeypatch.setattr(doctor_ward, "EXAMINATIONS", ())  # those of the machine are tested with the doctor
    checks = examine_ward(folder / "ward.toml")
    said = {check.name: check for check in checks}
    assert said["ward"].state == PROBLEM
    assert "1.toml" in said["ward"].said
    assert said["2: publish.address"].state == PROBLEM
    assert "192.0.2.7" in said["2: publish.address"].said
    assert (said["2: settings"].state, "'eeg_fontal' is no input" in said["2: settings"].said) == (PROBLEM, True)
    assert (said["metrics.address"].state, "192.0.2.7" in said["metrics.address"].said) == (PROBLEM, True)
    assert worst(checks) == PROBLEM


def test_who_wants_one_bed_is_told_that_it_is_a_ward(folder: Path) -> None:
    with pytest.raises(UserError, match="is a ward's"):
        load_config(folder / "ward.toml")


def test_the_example_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert names(WardFiles(Path("examples/ward.toml")).first) == ["bed 1", "bed 2"]
