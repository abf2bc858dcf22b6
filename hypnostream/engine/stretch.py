"""Many epochs of a bed in one run: the stretch graph of a bundle, for recordings, whose epochs are there at once.

It is the epoch graph with an axis of time behind that of the beds, (B, L, ...), and carries the same states: what it
says differs by rounding alone (1e-6), and a session may go from one to the other at any epoch. One epoch of many in a
run costs a fifth of one alone.
"""

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.errors import UserError


class StretchBackend(OnnxBackend):
    """The stretch graph of a bundle by onnxruntime; `most` epochs at once. Raises UserError where there is none."""

    def __init__(self, bundle: Bundle) -> None:
        stretch, epoch = bundle.content.stretch, bundle.content.epoch
        if stretch is None:
            raise UserError(f"{bundle.path} has no graph for stretches of epochs; export the bundle again")
        self.most = stretch.most
        spec = GraphSpec(stretch.file, epoch.clock_s, epoch.inputs, epoch.outputs, epoch.states)
        super().__init__(bundle, spec, free_axes=2)
