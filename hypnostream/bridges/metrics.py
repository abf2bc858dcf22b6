"""For Prometheus at /metrics, for a supervisor at /health: both are put together when someone asks, in the endpoint's
thread."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from hypnostream.bridges.http_endpoint import HttpEndpoint, Page
from hypnostream.bridges.metric_families import FAMILIES, QUALITY, families, shown, time_families, version_family
from hypnostream.bridges.tally import MOST_STREAMS, STARTING_S, Tally

if TYPE_CHECKING:
    from prometheus_client.core import Metric

DEFAULT_ADDRESS = "127.0.0.1:9464"
_KIND = "text/plain; version=0.0.4; charset=utf-8"


class Alive(Protocol):
    """A Struct that says, beside what else it says, whether something works."""

    @property
    def alive(self) -> bool:
        """False: start it again."""
        ...


class MetricsEndpoint:
    """Serves on `address` what `collect` and `health` say, and the process's own memory and CPU, until it is closed.

    The page of metrics is made anew at most each `fresh_s` seconds, however often it is asked for. UserError: the
    address is refused or taken.
    """

    def __init__(
        self,
        address: str,
        collect: "Callable[[], Iterable[Metric]]",
        health: Callable[[], Alive],
        *,
        insecure: bool = False,
        fresh_s: float = 0.0,
    ) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._collect, self._health, self._fresh_s = collect, health, fresh_s
        self._page: Page | None = None
        self._made_s = 0.0
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # where the system has /proc
        self._registry.register(self)
        pages = {"/metrics": self._metrics_page, "/health": self._health_page}
        self._endpoint = HttpEndpoint(address, pages, insecure=insecure)
        self.address = self._endpoint.address

    def collect(self) -> "Iterator[Metric]":
        """All families (prometheus_client calls this)."""
        yield from self._collect()

    def close(self) -> None:
        """Serve no more."""
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _metrics_page(self) -> Page:
        from prometheus_client import generate_latest

        if self._page is None or time.monotonic() - self._made_s >= self._fresh_s:
            self._page = Page(200, _KIND, generate_latest(self._registry))
            self._made_s = time.monotonic()
        return self._page

    def _health_page(self) -> Page:
        health = self._health()
        return Page(200 if health.alive else 503, "application/json", msgspec.json.encode(health) + b"\n")


class Metrics(Tally):
    """The tally of one session, from now on, which is served on `address` until it is closed.

    `starting_s` is as for `Tally`. UserError: the address is refused or taken.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        insecure: bool = False,
        starting_s: float = STARTING_S,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(starting_s, wall=wall)
        self.begin()
        self._endpoint = MetricsEndpoint(address, self._families, self.health, insecure=insecure)
        self.address = self._endpoint.address

    def close(self) -> None:
        """Serve no more."""
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _families(self) -> "Iterator[Metric]":
        yield version_family()
        yield from families([((), shown(self, MOST_STREAMS))], table=(*FAMILIES, QUALITY))
        yield from time_families(self.times)
