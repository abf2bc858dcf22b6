"""When a subscriber of timeflux has each newest sample, by the Python of its environment: see benchmarks/README.md.

    .venv-timeflux/bin/python benchmarks/peers/timeflux_newest.py PORT NAME...

Binds the socket that timeflux's `Pub` nodes connect to, and reads as its `Sub` node does. When stdin says so it prints
one line of JSON: for each topic when something new was there (this machine's monotonic clock) and the stamp of its
newest sample on LSL's clock; the versions.
"""

import json
import sys
import threading
import time
from importlib.metadata import version

import pylsl
import zmq
from timeflux.core.message import pickle_deserialize


def main() -> None:
    """Runs until stdin says so."""
    offset_s = time.time() - pylsl.local_clock()  # as its Receive node has it
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.bind(f"tcp://127.0.0.1:{sys.argv[1]}")
    print("bound", flush=True)
    stop = threading.Event()

    def obey() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=obey, daemon=True).start()
    arrivals: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sys.argv[2:]}
    while not stop.is_set():
        if socket.poll(100):
            topic, data, _ = socket.recv_serialized(pickle_deserialize)
            if data is not None:
                arrivals[topic].append(
                    (time.monotonic(), data.index[-1].timestamp() - offset_s, float(data.iloc[-1, 0]))
                )
    print(
        json.dumps({"arrivals": arrivals, "versions": f"timeflux {version('timeflux')}, pylsl {version('pylsl')}"}),
        flush=True,
    )


if __name__ == "__main__":
    main()
