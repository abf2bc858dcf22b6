"""A GPU fails while a bed is at work: its listeners hear why, once, and every result, once."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from hypnostream.bridges import backends, tensorrt_engines
from hypnostream.bridges.client import Client
from hypnostream.bridges.live import live_session
from hypnostream.bridges.live_session import LiveOptions
from hypnostream.bridges.messages import EpochMessage, EventMessage, StatusMessage
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.stopping import Stop
from hypnostream.config import ModelSection, load_config
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec, load_bundle
from hypnostream.engine.tensorrt_backend import TensorRtBackend
from hypnostream.engine.tensorrt_cuda import CudaError
from hypnostream.engine.tensorrt_device import Device
from tests.bridges.live_bed import SPEED, STOPPED_WITHIN_S, bed_file, monitor
from tests.engine.runtimes import NEVER, FailingRunner

EPOCHS = 10
FAILING = ("epoch.onnx", "tick.onnx")  # ticks.onnx holds out


class Gpu:
    """That of one bed, whose errors name the graph."""

    def __init__(self) -> None:
        self.runners: dict[str, FailingRunner] = {}

    def backend(self, bundle: Bundle, graph: GraphSpec, *_: object) -> Backend:
        error = CudaError(f"cudaGraphLaunch of {graph.file}: device lost")
        runner = FailingRunner(OnnxBackend(bundle, graph), graph, 1, NEVER, "step", error)
        self.runners[graph.file] = runner
        return TensorRtBackend([runner], graph)

    def fail(self) -> None:
        for file in FAILING:
            self.runners[file].left = 0


@pytest.mark.slow
def test_it_is_said_once_and_nothing_is_lost(
    tmp_path: Path, lsl_session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "device", lambda: Device("a GPU", "9.0", 1 << 30, "10.3.0"))
    gpu = Gpu()
    monkeypatch.setattr(tensorrt_engines, "tensorrt_backend", gpu.backend)
    config = load_config(bed_file(tmp_path, lsl_session_id, minimum=4, lateness_s=4 * SPEED))
    config = replace(config, model=ModelSection(backend="tensorrt"), keep=replace(config.keep, record=True))
    options, stop = LiveOptions(config, tmp_path / "night"), Stop()
    heard: list[EpochMessage | EventMessage | StatusMessage] = []
    with (
        Client(f"ipc://{tmp_path}/out", ("epoch", "event", "status")) as client,
        ThreadPoolExecutor(1) as pool,
        monitor(lsl_session_id, EPOCHS),
        ExitStack() as stack,
    ):
        ended = pool.submit(live_session, options, stop)
        stack.callback(stop.ask)
        while not (heard and isinstance(heard[-1], StatusMessage) and heard[-1].state == "session_ended"):
            message = client.receive(STOPPED_WITHIN_S)
            assert message is not None
            if isinstance(message, EpochMessage | EventMessage | StatusMessage):
                heard.append(message)
                if isinstance(message, EpochMessage) and message.status == "final" and message.epoch == 1:
                    gpu.fail()
        summary, folder = ended.result()
        assert client.lost == 0

    failures = [each for each in heard if isinstance(each, StatusMessage) and each.state == "backend_failed"]
    assert sorted(each.detail.partition("; ")[0] for each in failures) == [
        f"a GPU failed: cudaGraphLaunch of {file}: device lost" for file in FAILING
    ]
    assert all(each.detail.endswith("goes on from the same states, no result is lost") for each in failures)

    stages = [each for each in heard if isinstance(each, EpochMessage)]
    assert [each.epoch for each in stages if each.status == "final"] == list(range(EPOCHS))
    (at,) = (index for index, each in enumerate(heard) if each in failures and "epoch.onnx" in each.detail)
    by = [{each.origin.backend for each in part if isinstance(each, EpochMessage)} for part in (heard[:at], heard[at:])]
    assert by == [{"a GPU"}, {OnnxBackend(load_bundle()).name}]

    revisions = [(each.event_id, each.revision) for each in heard if isinstance(each, EventMessage)]
    assert len(revisions) == len(set(revisions)) > 0
    assert sorted(each.detail for each in summary.notices if each.state == "backend_failed") == sorted(
        each.detail for each in failures
    )
    # Without any GPU, so without its failure, the same comes out.
    again, _ = replay(folder, ReplayOptions(out=tmp_path / "replay"))
    assert f"{EPOCHS} of {EPOCHS} epochs came out exactly as they were published live" in again.notes
