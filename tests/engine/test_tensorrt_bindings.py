"""What is used of TensorRT and of CUDA is there, in whatever version is installed; and our log takes TensorRT's.

No GPU is needed. What needs one is in test_tensorrt_gpu.py.
"""

import logging

import pytest

from hypnostream.engine.tensorrt_build import last_error, logger
from hypnostream.engine.tensorrt_cuda import CudaError, call

trt = pytest.importorskip("tensorrt", reason="needs TensorRT's own bindings")
cuda = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings")

USED = {
    "Builder": ("create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network"),
    "OnnxParser": ("parse", "num_errors", "get_error"),
    "IBuilderConfig": (
        "set_memory_pool_limit",
        "get_tactic_sources",
        "set_tactic_sources",
        "set_flag",
        "clear_flag",
        "add_optimization_profile",
    ),
    "BuilderFlag": ("TF32",),
    "IOptimizationProfile": ("set_shape",),
    "INetworkDefinition": ("num_layers", "get_layer"),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_shape",
        "get_tensor_dtype",
        "create_execution_context",
    ),
    "IExecutionContext": ("set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"),
}
CALLED = (
    "cudaMalloc",
    "cudaFree",
    "cudaHostAlloc",
    "cudaFreeHost",
    "cudaMemcpyAsync",
    "cudaMemsetAsync",
    "cudaStreamCreateWithFlags",
    "cudaStreamSynchronize",
    "cudaStreamDestroy",
    "cudaStreamBeginCapture",
    "cudaStreamEndCapture",
    "cudaGraphInstantiate",
    "cudaGraphLaunch",
    "cudaGraphDestroy",
    "cudaGraphExecDestroy",
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaDriverGetVersion",
    "cudaGetErrorString",
    "cudaDeviceGetAttribute",
)


@pytest.mark.parametrize("name", sorted(USED))
def test_what_is_used_of_tensorrt_is_there(name: str) -> None:
    assert [each for each in USED[name] if not hasattr(getattr(trt, name), each)] == []


def test_what_is_used_of_cuda_is_there() -> None:
    assert [name for name in CALLED if not hasattr(cuda, name)] == []


def test_tensorrt_s_errors_come_into_our_log_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hypnostream.tensorrt")
    logger().log(trt.ILogger.ERROR, "first\nsecond")
    assert last_error() == "first second"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("ERROR", "first second")]
    assert logger() is logger()


def test_a_call_of_cuda_that_fails_says_which_and_why() -> None:
    with pytest.raises(CudaError, match=r"^cudaGetDeviceProperties: "):
        call("cudaGetDeviceProperties", 4096)
