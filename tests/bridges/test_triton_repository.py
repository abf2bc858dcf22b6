"""A model repository of Triton: it fits the schema that Triton publishes, and holds the bundle's own graph.

The schema is in `tritonclient` (pip install --no-deps tritonclient); without it that one test is skipped.
"""

import importlib.util
import re
import shutil
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from hypnostream.bridges.triton_repository import IDLE_S, export_triton, triton_config
from hypnostream.engine.bundle import Bundle, default_bundle_path, load_bundle
from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S, STAGES
from tests.command_line import Cli, assert_one_line

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch


def schema() -> ModuleType:
    """Triton's model_config.proto, compiled. Its package is not imported, as that would want gRPC."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs Triton's schema: pip install --no-deps tritonclient")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was compiled for the protobuf before this one
        spec.loader.exec_module(module)
    return module


def test_the_configuration_fits_triton_s_schema_and_the_bundle() -> None:
    module = schema()
    from google.protobuf import text_format

    config: Any = text_format.Parse(triton_config(BUNDLE, 1000), module.ModelConfig())
    fp32 = module.DataType.Value("TYPE_FP32")
    assert (config.name, config.backend) == (BUNDLE.content.name, "onnxruntime")
    for found, promised in ((config.input, SPEC.inputs), (config.output, SPEC.outputs)):
        assert [(each.name, each.data_type, tuple(each.dims)) for each in found] == [
            (tensor.name, fp32, tensor.shape) for tensor in promised
        ]
    sequences = config.sequence_batching
    assert sequences.oldest.max_candidate_sequences == 1000
    assert [(each.input_name, each.output_name, each.data_type, tuple(each.dims)) for each in sequences.state] == [
        (state.input, state.output, fp32, state.shape) for state in SPEC.states
    ]
    for state in sequences.state:
        (begin,) = state.initial_state
        assert begin.zero_data
        assert (begin.data_type, tuple(begin.dims)) == (state.data_type, tuple(state.dims))
    assert len({state.initial_state[0].name for state in sequences.state}) == len(SPEC.states)


def test_the_graph_is_the_bundle_s_byte_for_byte(tmp_path: Path) -> None:
    model = export_triton(BUNDLE, tmp_path / "repository")
    assert (model / "1" / "model.onnx").read_bytes() == BUNDLE.graph_bytes()
    assert (model / "labels.txt").read_text().split() == list(STAGES)
    assert (model / "config.pbtxt").read_text() == triton_config(BUNDLE)
    assert IDLE_S > 2 * EPOCH_S  # or a bed is forgotten between two epochs


def test_every_tensor_of_the_graph_is_in_the_configuration_once() -> None:
    names = re.findall(r'\b(?:input_|output_)?name: "([^"]+)"', triton_config(BUNDLE).split("max_batch_size", 1)[1])
    wanted = [tensor.name for tensor in (*SPEC.inputs, *SPEC.outputs)]
    wanted += [name for state in SPEC.states for name in (state.input, state.output, f"{state.name} at the beginning")]
    assert sorted(names) == sorted(wanted)


def test_states_that_triton_would_mix_up_are_refused(tmp_path: Path) -> None:
    first, second, *others = SPEC.states
    swapped = (replace(first, output=second.output), replace(second, output=first.output))
    epoch = replace(SPEC, states=(*swapped, *others))
    content = replace(BUNDLE.content, epoch=epoch)
    with pytest.raises(UserError, match="alphabetical order"):
        export_triton(Bundle(BUNDLE.path, content, BUNDLE.hash), tmp_path)


def test_a_model_that_is_there_is_left_alone(tmp_path: Path) -> None:
    model = export_triton(BUNDLE, tmp_path)
    before = (model / "config.pbtxt").stat().st_mtime_ns
    with pytest.raises(UserError, match="is there already"):
        export_triton(BUNDLE, tmp_path)
    assert (model / "config.pbtxt").stat().st_mtime_ns == before


def test_the_command_writes_a_bundle_s_repository(tmp_path: Path, cli: Cli) -> None:
    bundle = Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))
    said = cli("export", "triton", bundle, tmp_path / "models", "--beds", "64")
    assert said.code == 0
    assert "max_candidate_sequences: 64" in (tmp_path / "models" / "stager" / "config.pbtxt").read_text()
    assert_one_line(cli("export", "triton", tmp_path, tmp_path / "models"), "is no bundle")
