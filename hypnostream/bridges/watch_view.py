"""What `hypnostream watch` shows: the state that messages build up, and its picture as text."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import msgspec
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hypnostream.bridges import messages
from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import SESSION_ENDED, EpochMessage, EventMessage, Message, StatusMessage
from hypnostream.bridges.terminal_hypnogram import COLOURS, DIM, MOST_EPOCHS, ROWS, hypnogram
from hypnostream.stream.stages import EPOCH_S, STAGES

GOOD, FAIR, BAD = "#5fc77f", "#f2b134", "#ee5d5d"
QUALITY_COLOURS: Final = {
    "ok": GOOD,
    "noisy": FAIR,
    "mains": FAIR,
    "saturated": FAIR,
    "flat": BAD,
    "lead_off": BAD,
    "missing": BAD,
}
BRIGHT: Final = "default"
TROUGH: Final = "#20242c"
EIGHTHS: Final = " ▏▎▍▌▋▊▉"
BAR_CELLS: Final = 14
LONGEST_WORDS: Final = 60
LONGEST_INDICES: Final = 240
SENSORS: Final = 8
NOTICES: Final = 3
EVENTS: Final = 3
SIDE_BY_SIDE_CELLS: Final = 84


@dataclass(slots=True)
class WatchState:
    """All that the view shows. `stages` holds up to 24 hours of epochs (None: absent), `ended` that the session said
    so, `events` the last ones of breathing, by id; the rest is the newest message of each sort and how messages fare on
    their way (`behind_s`: if late).
    """

    address: str = ""
    stages: dict[int, str | None] = field(default_factory=dict)
    final: EpochMessage | None = None
    provisional: EpochMessage | None = None
    last: Message | None = None
    notices: deque[StatusMessage] = field(default_factory=lambda: deque(maxlen=NOTICES))
    events: dict[str, EventMessage] = field(default_factory=dict)
    indices: StatusMessage | None = None
    ended: bool = False
    alive: bool = False
    late_s: float = 0.0
    behind_s: float | None = None
    lost: int = 0
    malformed: int = 0
    restarts: int = 0

    def update(self, message: Message) -> None:
        """Takes a message in. Another session's first one clears the night."""
        if self.last is not None and message.origin.session_id != self.last.origin.session_id:
            self.stages.clear()
            self.notices.clear()
            self.events.clear()
            self.final = self.provisional = self.indices = None
            self.ended = False
        self.last = message
        match message:
            case EpochMessage(status="preliminary"):
                self.provisional = message
            case EpochMessage(status="withdrawn"):
                self.stages.pop(message.epoch, None)
            case EpochMessage():
                self._settle(message)
            case EventMessage():
                self._happened(message)
            case StatusMessage(state=messages.BREATHING_INDICES):
                self.indices = message
            case StatusMessage():
                self.notices.append(message)
                self.ended = message.state == SESSION_ENDED

    def update_connection(self, client: Client) -> None:
        """Takes in what the client knows about what came and what did not."""
        self.alive, self.late_s = client.alive, client.late_s
        self.behind_s = client.behind_s if client.late else None
        self.lost, self.malformed, self.restarts = client.lost, client.ledger.malformed, client.restarts

    def _happened(self, message: EventMessage) -> None:
        known = self.events.pop(message.event_id, None)
        newer = message if known is None or message.revision >= known.revision else known
        if newer.status != "withdrawn" and newer.event is not None:
            self.events[message.event_id] = newer
        while len(self.events) > EVENTS:
            del self.events[next(iter(self.events))]

    def _settle(self, message: EpochMessage) -> None:
        self.stages[message.epoch] = message.stage
        while len(self.stages) > MOST_EPOCHS:
            del self.stages[min(self.stages)]
        if self.final is None or message.epoch >= self.final.epoch:
            self.final = message
        if self.provisional is not None and self.provisional.epoch <= message.epoch:
            self.provisional = None


def render(state: WatchState, width: int) -> RenderableType:
    """The whole view, `width` cells wide; never raises, whatever was received."""
    width = max(20, width)
    inner = width - 4
    forming = state.provisional
    provisional = None if forming is None or forming.stage is None else (forming.epoch, forming.stage)
    parts: list[RenderableType] = [hypnogram(state.stages, inner, provisional), ""]
    if state.last is None:
        parts.append(Text("waiting for a session to say something", style=DIM))
    elif inner >= SIDE_BY_SIDE_CELLS:
        side_by_side = Table.grid(padding=(0, 5))
        side_by_side.add_row(_stages(state, BAR_CELLS), _sensors(state))
        parts += [side_by_side, ""]
    else:
        parts += [_stages(state, min(BAR_CELLS, (inner - 16) // 2)), "", _sensors(state), ""]
    parts += [_event(event, state) for event in state.events.values()]
    if state.indices is not None:
        parts.append(Text(_plain(state.indices.detail, LONGEST_INDICES), style=BRIGHT))
    parts += [_notice(notice, state) for notice in state.notices]
    parts.append(_footer(state))
    return Panel(
        Group(*parts),
        title=_title(state),
        title_align="left",
        subtitle=Text(f" {_plain(state.address)} ", style=DIM),
        subtitle_align="right",
        border_style=DIM,
        padding=(0, 1),
        width=width,
    )


def _title(state: WatchState) -> Text:
    if state.ended:
        said, colour = "○ ended ", DIM
    elif state.last is None:
        said, colour = "○ no session yet ", DIM
    elif state.alive and state.behind_s is not None:
        said, colour = f"● {state.behind_s:.0f} s behind ", FAIR
    elif state.alive:
        said, colour = "● live ", GOOD
    else:
        said, colour = f"● silent for {state.late_s:.0f} s ", BAD
    return Text.assemble((" hypnostream ", f"bold {BRIGHT}"), (said, colour))


def _stages(state: WatchState, bar_cells: int) -> Table:
    """Two columns of probabilities: the last epoch that is final, and the one that is forming."""
    pair = (state.final, state.provisional)
    table = Table.grid(padding=(0, 1))
    table.add_row("", *(_heading(message, bar_cells) for message in pair))
    for stage in ROWS:
        bars = (_bar(message, stage, bar_cells) for message in pair)
        table.add_row(Text(f"{stage:<2}", style=f"bold {COLOURS[stage]}"), *bars)
    return table


def _heading(message: EpochMessage | None, bar_cells: int) -> Text:
    if message is None:
        return Text(" " * (bar_cells + 5))
    forming = message.status == "preliminary"
    stage, colour = (message.stage, COLOURS[message.stage]) if message.stage else (_plain(message.absent_reason), BAD)
    when = f"{message.seconds} s" if forming else _clock(message.epoch * EPOCH_S)
    heading = Text.assemble(
        (stage, f"bold {colour}"), (f" {'so far, ' if forming else 'at '}{when}", DIM), no_wrap=True
    )
    heading.truncate(bar_cells + 5, overflow="ellipsis", pad=True)
    return heading


def _bar(message: EpochMessage | None, stage: str, bar_cells: int) -> Text:
    if message is None:
        return Text("")
    share = msgspec.structs.astuple(message.probabilities)[STAGES.index(stage)]
    full, eighths = divmod(round(share * bar_cells * 8), 8)
    bar = ("█" * full + EIGHTHS[eighths]).ljust(bar_cells)[:bar_cells]
    number = f"{share:5.0%}"
    return Text.assemble(
        (bar, f"{COLOURS[stage]} on {TROUGH}"), (number, f"bold {BRIGHT}" if message.stage == stage else DIM)
    )


def _sensors(state: WatchState) -> Table:
    """How each sensor fares, from the newest message that says it."""
    message = state.provisional or state.final
    channels = message.channels if message is not None else ()
    table = Table.grid(padding=(0, 1))
    for column in range(4):
        table.add_column(no_wrap=True, justify="right" if column == 3 else "left")
    table.add_row("", Text("sensor", style=DIM), Text("is", style=DIM), Text("good", style=DIM), "")
    for channel in channels[:SENSORS]:
        colour = QUALITY_COLOURS.get(channel.quality, DIM)
        table.add_row(
            Text("○" if channel.quality == "never_present" else "●", style=colour),
            Text(_plain(channel.name), style=BRIGHT),
            Text(_plain(channel.quality.replace("_", " ")), style=colour),
            Text(f"{channel.ok_fraction:4.0%}", style=DIM),
            Text("imputed" if channel.imputed else "", style=DIM),
        )
    if len(channels) > SENSORS:
        table.add_row("", Text(f"and {len(channels) - SENSORS} more", style=DIM))
    return table


def _event(event: EventMessage, state: WatchState) -> Text:
    lasts = "lasts" if event.t_end_s is None else f"{min(event.t_end_s - event.t_start_s, 1e6):.0f} s"
    said = f"{_plain((event.event or '').replace('_', ' '))} {lasts}"
    sure = f"  {event.status}, {_plain(event.rule or 'no rule')}, {event.confidence:.0%}"
    return Text.assemble((_since_begin(event.t_start_s, state), DIM), (said, BRIGHT), (sure, DIM))


def _notice(notice: StatusMessage, state: WatchState) -> Text:
    said = " ".join(_plain(part) for part in (notice.state.replace("_", " "), notice.subject) if part)
    when = _since_begin(notice.time.stream_s, state)
    return Text.assemble((when, DIM), (said, FAIR), ("  " + _plain(notice.detail), DIM))


def _since_begin(stream_s: float, state: WatchState) -> str:
    """When that was in the night; stream time may count from anywhere, an epoch tells where the night began."""
    epoch = state.final or state.provisional
    return "" if epoch is None else _clock(stream_s - epoch.t_start_s + epoch.epoch * EPOCH_S) + "  "


def _footer(state: WatchState) -> Text:
    facts: list[tuple[str, str]] = []
    newest = state.provisional or state.final
    if newest is not None and newest.latency_s is not None:
        facts.append((f"latency {min(newest.latency_s, 1e6) * 1000:.1f} ms", DIM))
    if state.last is not None:
        origin = state.last.origin
        facts.append((f"model {_plain(origin.model_hash)[:8]} on {_plain(origin.backend)}", DIM))
        facts.append((f"rule {_plain(origin.scoring_rule)}", DIM))
        facts.append((f"session {_plain(origin.session_id)[:8]}", DIM))
    facts.append((f"lost {state.lost}", BAD if state.lost else DIM))
    facts += [
        (f"{name} {count}", FAIR)
        for name, count in (("malformed", state.malformed), ("restarts", state.restarts))
        if count
    ]
    return Text(" · ", style=DIM).join(Text(text, style=style) for text, style in facts)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds since the night began; absurd times are cut off."""
    whole = int(min(max(seconds, 0.0), 3600e6))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _plain(text: str | None, longest: int = LONGEST_WORDS) -> str:
    """Words from outside without control characters, which could drive the terminal, and of bounded length."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in (text or "")[:longest])
