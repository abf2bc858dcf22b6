"""A bundle, and what runs each of its graphs here, as a bed's configuration asks."""

from functools import cached_property, partial

from hypnostream.bridges.backends import Chosen, choose_backend
from hypnostream.config import ModelSection
from hypnostream.engine.backend import Backend
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.respiration.beliefs import Beliefs, beliefs_of


class Model:
    """Beds may share it. What runs the epoch graph is chosen at once, what runs the others when they are asked for.

    With `stretches` it is for recordings, else for so many `beds`: see `choose_backend`. UserError, of any use: a graph
    runs nowhere.
    """

    def __init__(self, bundle: Bundle, section: ModelSection, *, stretches: bool = False, beds: int = 1) -> None:
        self.bundle = bundle
        self._choose = partial(choose_backend, bundle, section, stretches=stretches, beds=beds)
        self._chosen: dict[str, Chosen] = {}
        self.backend = self._runner(bundle.content.epoch)

    @cached_property
    def beliefs(self) -> Beliefs | None:
        """The learned model of breathing, None where the bundle has none."""
        return beliefs_of(self.bundle, self._runner)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why something else runs than was asked for, from the beginning or by now, each reason once; of the graphs
        that were asked for so far."""
        return tuple(dict.fromkeys(each.reason for each in self._chosen.values() if each.reason))

    @property
    def runtimes(self) -> dict[str, str]:
        """What runs each graph that was asked for so far, by the graph's name."""
        names = {graph.file: name for name, graph in self.bundle.step_graphs.items()}
        return {names[file]: chosen.backend.name for file, chosen in self._chosen.items()}

    def _runner(self, graph: GraphSpec) -> Backend:
        if graph.file not in self._chosen:
            self._chosen[graph.file] = self._choose(graph)
        return self._chosen[graph.file].backend
