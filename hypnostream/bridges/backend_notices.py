"""What runs the model, said when it is not what was asked for: at the beginning, or when it fails in the night."""

from collections.abc import Sequence

from hypnostream.bridges.messages import BACKEND_FAILED
from hypnostream.bridges.model import Model
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.run import Sink
from hypnostream.bridges.sayable import sayable
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.source import Notice


class BackendNotices:
    """A sink before all `others`: they hear each reason once, before the first result that it is true of, and from then
    on results say by what they were computed."""

    def __init__(self, model: Model, publisher: Publisher, others: Sequence[Sink]) -> None:
        self._model, self._publisher, self._others = model, publisher, others
        self._said: tuple[str, ...] = ()

    def look(self, now_s: float) -> None:
        """Say at stream time `now_s` what was not said yet."""
        reasons = self._model.reasons
        if reasons == self._said:
            return
        news, self._said = [why for why in reasons if why not in self._said], reasons
        self._publisher.runs_on(self._model.backend.name)
        for why in news:
            for sink in self._others:
                sink.notice(sayable(Notice(BACKEND_FAILED, "", now_s, why)))

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """What computed it may be new."""
        self.look(now_s)

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """What computed it may be new."""
        self.look(now_s)

    def notice(self, notice: Notice) -> None:
        """Nothing to say."""

    def heartbeat(self, now_s: float) -> None:
        """A graph may have failed of which nothing is said yet."""
        self.look(now_s)
