"""What README.md and docs/ state is so: commands, options, keys, columns, fields, channels, codes, limits, links."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as parquet
import pytest
import typer
from msgspec import inspect

from hypnostream import __version__
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.cli import app
from hypnostream.config import BedConfig
from hypnostream.engine.bundle import load_bundle
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.quality import QualitySettings
from hypnostream.stream.stages import STAGES
from tests.documentation import PAGES, ROOT, code_in, inline_code, table, text_of
from tests.recordings import STAGES as TRUTH
from tests.recordings import write_night

CHANNEL = "CHANNEL"


def command_options(command: Any, path: str = "hypnostream") -> Iterator[tuple[str, list[str]]]:
    """Every command by its words, and its options, as the command line has them."""
    for name, each in getattr(command, "commands", {}).items():
        yield from command_options(each, f"{path} {name}")
    if not hasattr(command, "commands"):
        yield path, [option for each in command.params for option in each.opts if option.startswith("--")]


COMMANDS = dict(command_options(typer.main.get_command(app)))


def test_readme_lists_every_command_with_its_options_and_no_other() -> None:
    listed = {}
    for command, _, options in table("README.md", "command"):
        words = [word for word in code_in(command)[0].split() if word.islower()]
        listed[" ".join(words)] = sorted(code_in(options))
    assert listed == {name: sorted(set(options) - {"--help"}) for name, options in COMMANDS.items()}


@pytest.mark.parametrize("page", PAGES)
def test_a_command_named_in_a_sentence_exists_with_its_options(page: str) -> None:
    for code in inline_code(page):
        words = code.split()
        if words[:1] == ["hypnostream"] and len(words) > 1 and words[1] != "--version":
            name = max((known for known in COMMANDS if f"{code} ".startswith(f"{known} ")), key=len, default=None)
            assert name is not None, f"{page}: `{code}` is no command"
            assert {word for word in words if word.startswith("--")} <= {*COMMANDS[name], "--help"}, f"{page}: `{code}`"
        elif words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"{page}: `{code}`"


def config_keys(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, value and default of everything in a bed's file, in the words of docs/configuration.md."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    types = {field.name: field.type for field in described.fields}
    for field in msgspec.structs.fields(kind):
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        if isinstance(default, msgspec.Struct):
            yield from config_keys(type(default), f"{prefix}{field.name}.")
            continue
        shown = "absent" if default is None else "empty" if default in ((), {}) else f"`{json.dumps(default)}`"
        yield f"{prefix}{field.name}", in_words(types[field.name]), shown


def in_words(kind: inspect.Type) -> str:
    """A type as docs/configuration.md says it."""
    match kind:
        case inspect.UnionType(types):
            given = [in_words(t) for t in types if not isinstance(t, inspect.NoneType)]
            absent = ["absent"] if len(given) < len(types) else []
            return ", or ".join([*given, *absent]).replace("or list", "or a list")
        case inspect.VarTupleType():
            return "list of texts"
        case inspect.IntType(ge=least):
            return f"whole number, at least {least}"
        case inspect.FloatType(gt=None, ge=least):
            return f"number, at least {least}"
        case inspect.FloatType(gt=above):
            return f"number above {above:g}"
        case inspect.BoolType():
            return "true or false"
        case inspect.DictType():
            return "table of texts"
        case inspect.LiteralType(values):
            return " or ".join(f'"{value}"' for value in values)
        case inspect.StrType():
            return "text"
        case _:
            raise AssertionError(f"docs/configuration.md has no words for {kind}")


def test_configuration_lists_every_key_with_its_type_and_default() -> None:
    rows = [(code_in(key)[0], value, default) for key, value, default, _ in table("docs/configuration.md", "key")]
    assert rows == list(config_keys(BedConfig))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a short replay with a reference."""
    folder = tmp_path_factory.mktemp("report")
    night = write_night(folder / "night.edf", 10)
    (folder / "hypnogram.csv").write_text("\n".join(STAGES[code] for code in TRUTH))
    replay(night, ReplayOptions(out=folder, reference=folder / "hypnogram.csv"))
    return folder


def test_reports_lists_every_column_of_the_table_with_its_type(report: Path) -> None:
    schema = parquet.read_schema(report / "epochs.parquet")
    first = load_bundle().channels[0].name
    expected = [
        (field.name.replace(first, CHANNEL), str(field.type))
        for field in schema
        if not any(field.name.endswith(f"_{spec.name}") for spec in load_bundle().channels[1:])
    ]
    assert [(code_in(column)[0], kind) for column, kind, _ in table("docs/reports.md", "column")] == expected
    metadata = {key.decode() for key in schema.metadata} - {"ARROW:schema"}
    sentence = text_of("docs/reports.md").partition("key-value metadata")[2].partition("## ")[0]
    assert metadata <= set(code_in(sentence.replace("\n", " ")))


def fields(value: Any, prefix: str = "") -> Iterator[str]:
    """The fields of a summary, "sleep.total_sleep_min"; those of a list are its first entry's."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return
    for name, each in value.items():
        yield f"{prefix}{name}"
        if name not in ("versions", "stage_min", "stage_percent", "epochs_by_quality", "absent", "stages", "events"):
            yield from fields(each, f"{prefix}{name}.")


def test_reports_lists_every_field_of_the_summary_in_its_order(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text())
    assert [code_in(field)[0] for field, _ in table("docs/reports.md", "field")] == list(fields(summary))


def test_reports_says_how_every_quality_code_is_decided() -> None:
    rows = {code_in(code)[0]: when for code, when in table("docs/reports.md", "code")}
    assert set(rows) == set(QUALITY_NAMES)
    settings = QualitySettings()
    eeg, emg, ecg, spo2 = (settings.limits[kind] for kind in ("eeg", "emg", "ecg", "spo2"))
    assert settings.limits["eog"] == eeg
    assert ecg.noisy_rms_uv == emg.noisy_rms_uv
    assert f"less than {eeg.flat_range_uv:g} µV" in rows["flat"]
    assert f"more than {eeg.noisy_rms_uv:g} µV rms" in rows["noisy"]
    assert f"(EMG, ECG: {emg.noisy_rms_uv:g})" in rows["noisy"]
    assert f"more than {eeg.humming_rms_uv:g} µV rms and" in rows["noisy"]
    assert f"above {eeg.humming_hz:g} Hz" in rows["noisy"]
    assert f"more than {eeg.rough_rms_uv:g} µV and above {eeg.rough_hz:g} Hz" in rows["noisy"]
    assert f"(ECG: {ecg.humming_rms_uv:g} and {ecg.rough_rms_uv:g} µV)" in rows["noisy"]
    mains = f"more than {eeg.mains_rms_uv:g} µV rms (EMG: {emg.mains_rms_uv:g}, ECG: {ecg.mains_rms_uv:g})"
    assert mains in rows["mains"]
    assert f"beyond {settings.near_limit:.0%}".replace("%", " %") in rows["lead_off"]
    assert eeg.offset_uv is not None
    assert f"beyond {eeg.offset_uv / 1000:g} mV" in rows["lead_off"]
    assert f"slower than {settings.drifting_hz:g} Hz" in rows["lead_off"]
    assert f"less than {eeg.silent_rms_uv:g} µV rms" in rows["lead_off"]
    assert spo2.plausible_percent is not None
    assert "outside of {:g} to {:g} %".format(*spo2.plausible_percent) in rows["lead_off"]
    assert f"{settings.saturated_share:.0%}".replace("%", " %") in rows["saturated"]
    assert f"beyond {settings.absurd:.0e}".replace("+0", "") in rows["missing"]
    assert f"({load_bundle().content.min_valid_s})" in text_of("docs/reports.md")


def test_channels_lists_what_the_shipped_model_wants() -> None:
    rows = [(code_in(name)[0], kind, derivations) for name, kind, derivations in table("docs/channels.md", "input")]
    assert rows == [(spec.name, spec.kind, ", ".join(spec.derivations)) for spec in load_bundle().channels]


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_and_paths_lead_to_files_that_are_there(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", text_of(page))
    missing = [t for t in targets if not t.startswith("https://") and not ((ROOT / page).parent / t).exists()]
    paths = [code for code in inline_code(page) if re.fullmatch(r"(hypnostream|tests|docs|benchmarks)/[\w./]*", code)]
    assert missing + [path for path in paths if not (ROOT / path).exists()] == []


def test_pages_that_the_program_names_are_there() -> None:
    named = {
        (path.name, page)
        for path in (ROOT / "hypnostream").rglob("*.py")
        for page in re.findall(r"\b(?:docs|benchmarks)/[\w.]+\b", path.read_text(encoding="utf-8"))
    }
    assert {page for _, page in named} >= {"docs/configuration.md"}
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


def test_readme_leads_to_every_page() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", text_of("README.md"))
    assert {*PAGES, "CHANGELOG.md", "LICENSE", "benchmarks/README.md"} - {"README.md"} <= set(linked)


def test_version_and_licence_are_the_package_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert __version__ in text_of("CHANGELOG.md")
    assert "not a medical device" in text_of("README.md").lower()
