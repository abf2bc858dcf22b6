"""Which overseers a bed's session has: logs always, the service manager, metrics where an address is given."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from hypnostream.bridges.logs import NoticeLog
from hypnostream.bridges.metrics import Metrics
from hypnostream.bridges.overseer import Overseer
from hypnostream.bridges.service_manager import ServiceManager
from hypnostream.bridges.tally import STARTING_S
from hypnostream.config import BedConfig


@contextmanager
def overseers_of(config: BedConfig, metrics: str | None = None, alone: bool = True) -> Iterator[tuple[Overseer, ...]]:
    """The overseers of one session, until it is over. `metrics` stands above the configuration's address. One that is
    not `alone` in its process says which bed it is in its logs, and is not what the service manager watches.

    UserError: the address for metrics is refused or taken.
    """
    with ExitStack() as stack:
        overseers: list[Overseer] = [NoticeLog(), ServiceManager()] if alone else [NoticeLog(bed=config.name)]
        address = metrics or config.metrics.address
        if address is not None:
            starting_s = config.lsl.timeout_s + STARTING_S
            served = Metrics(address, insecure=config.publish.insecure, starting_s=starting_s)
            overseers.append(stack.enter_context(served))
        yield tuple(overseers)
