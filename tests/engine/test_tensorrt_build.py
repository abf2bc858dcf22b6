"""What a builder is told of precision, by a configuration that writes it down. Built is in test_tensorrt_gpu.py."""

from types import SimpleNamespace

import pytest

from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.tensorrt_build import _set_precision, engine_graph
from hypnostream.engine.tensorrt_device import Precision

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch


class Configuration:
    """TF32 is on, as in TensorRT."""

    def __init__(self) -> None:
        self.flags = {"TF32"}

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)


@pytest.mark.parametrize(
    ("version", "precision", "flags"),
    [
        ("8.6.1", "fp32", set()),
        ("10.3.0", "fp32", set()),
        ("11.4.0", "fp32", set()),
        ("8.6.1", "fp16", {"FP16", "OBEY_PRECISION_CONSTRAINTS"}),
        ("10.3.0", "fp16", set()),  # types are in the network there, and their flags an error
        ("11.4.0", "fp16", set()),
    ],
)
def test_what_is_float32_is_without_tf32(version: str, precision: Precision, flags: set[str]) -> None:
    config, graph = Configuration(), engine_graph(BUNDLE.graph_bytes(), SPEC, precision)
    named = SimpleNamespace(TF32="TF32", FP16="FP16", OBEY_PRECISION_CONSTRAINTS="OBEY_PRECISION_CONSTRAINTS")
    untyped = SimpleNamespace(CONSTANT=0, CAST=1, SHAPE=2)
    trt = SimpleNamespace(__version__=version, BuilderFlag=named, LayerType=untyped)
    _set_precision(trt, config, SimpleNamespace(num_layers=0), graph, precision)
    assert config.flags == flags
