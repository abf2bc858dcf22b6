"""Bundles as they may come from strangers: what does not fit is refused, in one line, with the field that differs."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import default_bundle_path, load_bundle
from hypnostream.errors import UserError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The shipped bundle where it may be damaged."""
    return Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))


def change(bundle: Path, how: Change) -> Path:
    """Edit bundle.json."""
    manifest = bundle / "bundle.json"
    content = json.loads(manifest.read_text())
    how(content)
    manifest.write_text(json.dumps(content))
    return bundle


def refusal(bundle: Path) -> str:
    """What is said of a bundle that must not load; always one line that names the bundle."""
    with pytest.raises(UserError) as caught:
        OnnxBackend(load_bundle(bundle))
    message = str(caught.value)
    assert "\n" not in message
    assert str(bundle) in message
    return message


def test_the_shipped_bundle_loads_and_is_small() -> None:
    bundle = load_bundle()
    assert sum(file.stat().st_size for file in default_bundle_path().iterdir()) < 10_000_000
    assert set(bundle.content.sha256) == {file.name for file in default_bundle_path().iterdir()} - {"bundle.json"}
    assert bundle.hash == hashlib.sha256((default_bundle_path() / "bundle.json").read_bytes()).hexdigest()
    assert OnnxBackend(bundle).name.startswith("onnxruntime")


def test_the_shipped_graph_has_plain_operators_of_opset_17_and_few_parameters() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(load_bundle().graph_bytes())
    operators = {node.op_type for node in graph.graph.node}
    assert not operators & {"Loop", "Scan", "If", "Einsum"}
    assert {imported.domain for imported in graph.opset_import} <= {"", "ai.onnx"}
    assert max(imported.version for imported in graph.opset_import) <= 17
    assert not any(node.attribute and any(a.HasField("g") for a in node.attribute) for node in graph.graph.node)
    assert sum(int(np.prod(tensor.dims)) for tensor in graph.graph.initializer) < 2_000_000


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_changed_byte_is_found(copied: Path, place: int) -> None:
    graph = copied / "epoch.onnx"
    raw = bytearray(graph.read_bytes())
    raw[place] ^= 1
    graph.write_bytes(raw)
    assert "epoch.onnx was changed" in refusal(copied)


def test_a_changed_card_is_found(copied: Path) -> None:
    with (copied / "card.md").open("a") as card:
        card.write(" ")
    assert "card.md was changed" in refusal(copied)


def test_a_graph_that_is_swapped_after_loading_is_found(copied: Path) -> None:
    bundle = load_bundle(copied)
    (copied / "epoch.onnx").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"epoch\.onnx was changed"):
        OnnxBackend(bundle)


@pytest.mark.parametrize("name", ["epoch.onnx", "card.md", "bundle.json"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    assert name in refusal(copied)


def test_what_is_no_folder_is_no_bundle(copied: Path) -> None:
    assert "no bundle" in refusal(copied / "epoch.onnx")
    assert "no bundle" in refusal(copied / "nowhere")


@pytest.mark.parametrize("raw", [b"", b"not json", b"[1, 2", b"{}", b"[]", b"null", b'"\xff"', b"{" * 100_000])
def test_what_is_no_manifest_is_refused(copied: Path, raw: bytes) -> None:
    (copied / "bundle.json").write_bytes(raw)
    assert "bundle.json" in refusal(copied)


def test_a_manifest_of_endless_size_is_not_read(copied: Path) -> None:
    with (copied / "bundle.json").open("ab") as manifest:
        manifest.truncate(1 << 30)
    assert "bytes" in refusal(copied)


@pytest.mark.parametrize(
    ("field", "how"),
    [
        ("unknown field `colour`", lambda c: c.update(colour="red")),
        ("unknown field `colour`", lambda c: c["epoch"].update(colour="red")),
        ("missing required field `stages`", lambda c: c.pop("stages")),
        ("$.min_valid_s", lambda c: c.update(min_valid_s="ten")),
        ("min_valid_s is 31", lambda c: c.update(min_valid_s=31)),
        ("min_valid_s is 0", lambda c: c.update(min_valid_s=0)),
        ("format_version is 2", lambda c: c.update(format_version=2)),
        ("stages is", lambda c: c["stages"].reverse()),
        ("epoch.clock_s is 20", lambda c: c["epoch"].update(clock_s=20)),
        ("channels is empty", lambda c: c.update(channels=[])),
        ("channels have rates [100, 200]", lambda c: c["channels"][0].update(rate_hz=200)),
        ("channels have rates [0]", lambda c: [channel.update(rate_hz=0) for channel in c["channels"]]),
        ("epoch.inputs", lambda c: c["channels"].pop()),
        ("channel names", lambda c: c["channels"][1].update(name=c["channels"][0]["name"])),
        ("highpass_hz", lambda c: c["channels"][0].update(highpass_hz=-1.0)),
        ("highpass_hz", lambda c: c["channels"][0].update(highpass_hz=50.0)),
        ("lowpass_hz", lambda c: c["channels"][0].update(lowpass_hz=0.0)),
        ("epoch.outputs", lambda c: c["epoch"]["outputs"][0].update(shape=[6])),
        ("sha256 does not cover epoch.onnx", lambda c: c["sha256"].pop("epoch.onnx")),
        ("$.epoch.states[0].shape[0]", lambda c: c["epoch"]["states"][0].update(shape=[-1])),
        ("$.epoch.states[0].shape[0]", lambda c: c["epoch"]["states"][0].update(shape=[1 << 40])),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(copied: Path, field: str, how: Change) -> None:
    assert field in refusal(change(copied, how))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".hidden", "", "a\\b", "x\0y", "x\n"])
def test_no_name_leaves_the_directory(copied: Path, name: str) -> None:
    (copied.parent / "secret").write_text("secret")
    assert "$.sha256" in refusal(change(copied, lambda c: c["sha256"].update({name: "0" * 64})))
    assert "$.epoch.file" in refusal(change(copied, lambda c: [c["epoch"].update(file=name), c["sha256"].pop(name)]))


def state_of(content: dict[str, Any], name: str) -> dict[str, Any]:
    """One state of a bundle's epoch graph."""
    return next(state for state in content["epoch"]["states"] if state["name"] == name)


@pytest.mark.parametrize(
    ("named", "how"),
    [
        ("inputs differ at 'layers_0_ssm'", lambda c: state_of(c, "layers_0_ssm").update(shape=[4, 32, 9])),
        ("inputs differ at 'a_memory'", lambda c: c["epoch"]["states"][0].update(input="a_memory")),
        ("outputs differ at 'memory'", lambda c: c["epoch"]["states"][0].update(output="memory")),
        ("inputs differ at 'level_total'", lambda c: c["epoch"]["states"].pop(0)),
    ],
)
def test_a_graph_that_keeps_other_promises_is_refused(copied: Path, named: str, how: Change) -> None:
    assert named in refusal(change(copied, how))


def graph_in(bundle: Path, raw: bytes) -> Path:
    """Put another graph into a bundle, with its right hash."""
    (bundle / "epoch.onnx").write_bytes(raw)
    return change(bundle, lambda c: c["sha256"].update({"epoch.onnx": hashlib.sha256(raw).hexdigest()}))


def test_what_is_no_graph_is_refused(copied: Path) -> None:
    assert "epoch.onnx is no graph that runs here" in refusal(graph_in(copied, b"certainly no ONNX"))


def test_a_graph_of_another_number_type_is_refused_at_load(copied: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string((copied / "epoch.onnx").read_bytes())
    value = next(value for value in graph.graph.input if value.name == "age_s")
    value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    cast = onnx.helper.make_node("Cast", ["age_s"], ["age_s_f"], to=onnx.TensorProto.FLOAT)
    for node in graph.graph.node:
        node.input[:] = ["age_s_f" if name == "age_s" else name for name in node.input]
    graph.graph.node.insert(0, cast)
    assert "epoch.onnx is no graph that runs here" in refusal(graph_in(copied, graph.SerializeToString()))


def test_a_graph_of_another_batch_is_refused_at_load(copied: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string((copied / "epoch.onnx").read_bytes())
    for value in graph.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 2
    assert "epoch.onnx is no graph that runs here" in refusal(graph_in(copied, graph.SerializeToString()))


def test_a_manifest_nested_without_end_is_one_line(copied: Path) -> None:
    (copied / "bundle.json").write_text('{"unknown": ' + "[" * 100_000)
    assert "bundle.json" in refusal(copied)
