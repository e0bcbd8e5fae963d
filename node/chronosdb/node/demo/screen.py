"""What the audience sees: a live picture on a terminal, plain lines elsewhere, nothing for programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chronosdb.client import Delivery
from chronosdb.client.cli.output import printable
from chronosdb.node.demo.report import Report
from chronosdb.node.demo.tally import Tally, percentile

#: Called with how many more events are published.
Advance = Callable[[int], None]

_ROWS: Final = 14
_LINE_EVERY_MS: Final = 1000
_DETAILS_MAX: Final = 20
#: Lateness from which a row catches the eye: the goal for one event (design §9).
_LATE_MS: Final = 10


class Screen(Protocol):
    """Where the story is shown."""

    def say(self, text: str, *, alarm: bool = False) -> None:
        """Something happened to the node."""

    def begin(self, start_ms: int) -> None:
        """The first record is due at `start_ms`: times are shown from there."""

    def publishing(self, total: int) -> AbstractContextManager[Advance]:
        """Show how many of `total` events are published."""

    def delivered(self, event: Delivery, received_ms: int) -> None:
        """An event came."""

    def refresh(self, tally: Tally, now_ms: int) -> None:
        """Time has passed."""


class Silence:
    """For programs: only the report at the end."""

    def say(self, text: str, *, alarm: bool = False) -> None:
        """See `Screen`."""

    def begin(self, start_ms: int) -> None:
        """See `Screen`."""

    @contextmanager
    def publishing(self, total: int) -> Iterator[Advance]:
        """See `Screen`."""
        assert total >= 0
        yield lambda _count: None

    def delivered(self, event: Delivery, received_ms: int) -> None:
        """See `Screen`."""

    def refresh(self, tally: Tally, now_ms: int) -> None:
        """See `Screen`."""


class Lines(Silence):
    """For a pipe or a CI log: a line a second, and one for everything that happens to the node."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start_ms: int | None = None
        self._elapsed_ms = 0
        self._next_line_ms = 0
        self._late_ms: list[int] = []
        self._text = ""

    def say(self, text: str, *, alarm: bool = False) -> None:
        """See `Screen`."""
        mark = "!!!" if alarm else "---"
        self._print(f"{mark} {text}")

    def begin(self, start_ms: int) -> None:
        """See `Screen`."""
        self._start_ms = start_ms

    def delivered(self, event: Delivery, received_ms: int) -> None:
        """See `Screen`."""
        self._late_ms.append(received_ms - event.schedule_ts)
        self._text = _shown(event)

    def refresh(self, tally: Tally, now_ms: int) -> None:
        """See `Screen`."""
        assert self._start_ms is not None
        self._elapsed_ms = elapsed_ms = now_ms - self._start_ms
        if elapsed_ms < self._next_line_ms or not self._late_ms:
            return
        self._next_line_ms = elapsed_ms - elapsed_ms % _LINE_EVERY_MS + _LINE_EVERY_MS
        late_ms, self._late_ms = self._late_ms, []
        self._print(
            f"{len(tally.first):>6,} of {len(tally.expected):,} delivered, {len(late_ms):>4} now,"
            f" late p50 {percentile(late_ms, 50)} max {max(late_ms)} ms  {self._text[:60]}"
        )

    def _print(self, text: str) -> None:
        time = "" if self._start_ms is None else f"{self._elapsed_ms / 1000:+.1f} s"
        self._console.print(Text(f"{time:>9}  {text}"), soft_wrap=True)


class Picture:
    """For a terminal: figures, a bar, and the events as they come. A context manager."""

    def __init__(self, console: Console, title: str, span_ms: int) -> None:
        self._console = console
        self._title = title
        self._span_ms = span_ms
        self._rows: deque[tuple[Text, ...]] = deque(maxlen=_ROWS)
        self._tally = Tally()
        self._start_ms: int | None = None
        self._elapsed_ms = 0
        self._publishing: Progress | None = None
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str, *, alarm: bool = False) -> None:
        """See `Screen`."""
        style = "bold white on red" if alarm else "bold cyan"
        self._add(self._elapsed_ms, Text(""), Text(f" {text} ", style))

    def begin(self, start_ms: int) -> None:
        """See `Screen`."""
        self._start_ms = start_ms

    @contextmanager
    def publishing(self, total: int) -> Iterator[Advance]:
        """See `Screen`."""
        bar = Progress(
            TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), console=self._console
        )
        task = bar.add_task("", total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)
            self._live.refresh()

        self._publishing = bar
        yield advance
        self._publishing = None

    def delivered(self, event: Delivery, received_ms: int) -> None:
        """See `Screen`."""
        late_ms = received_ms - event.schedule_ts
        late = Text(f"{late_ms:,} ms", "green" if late_ms <= _LATE_MS else "yellow")
        assert self._start_ms is not None
        self._add(event.schedule_ts - self._start_ms, late, Text(_shown(event)))

    def refresh(self, tally: Tally, now_ms: int) -> None:
        """See `Screen`."""
        assert self._start_ms is not None
        self._tally, self._elapsed_ms = tally, now_ms - self._start_ms

    def _draw(self) -> Group:
        if self._publishing is not None:
            return Group(Text(self._title, "bold"), self._publishing)
        bar = ProgressBar(self._span_ms, min(max(self._elapsed_ms, 0), self._span_ms), width=None)
        line = Table.grid(expand=True)  # a bar alone does not end its line
        line.add_row(bar)
        return Group(Text(self._title, "bold"), line, self._figures(), Text(), self._events())

    def _figures(self) -> Text:
        tally = self._tally
        waiting = len(tally.expected) - len(tally.first)
        text = Text.assemble(
            (f"{len(tally.published):,}", "bold"),
            " published   ",
            (f"{waiting:,}", "bold"),
            " not due yet   ",
            (f"{len(tally.first):,}", "bold"),
            " delivered   ",
            (f"{len(tally.acked):,}", "bold"),
            " acked   ",
            (f"{tally.early}", "bold red" if tally.early else "bold"),
            " early",
        )
        if undisturbed := [receipt.late_ms for receipt in tally.outside_the_gap()]:
            p50, p99 = percentile(undisturbed, 50), percentile(undisturbed, 99)
            text.append(f"   late p50 {p50} p99 {p99} ms")
        return text

    def _events(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        table.add_column("due", justify="right", no_wrap=True)
        table.add_column("late", justify="right", no_wrap=True, min_width=8)
        table.add_column("record", no_wrap=True, overflow="ellipsis", ratio=1)
        for row in self._rows:
            table.add_row(*row)
        return table

    def _add(self, elapsed_ms: int, late: Text, what: Text) -> None:
        time = "" if self._start_ms is None else f"{elapsed_ms / 1000:+.1f} s"
        self._rows.append((Text(time, "dim"), late, what))


def print_report(console: Console, report: Report) -> None:
    """The figures, the lateness, and each promise with its proof."""
    figures = "   ".join(f"{value:,} {name}" for name, value in report.figures.items())
    console.print(Text(f"\n{figures.replace('_', ' ')}\n", "bold"), soft_wrap=True)
    console.print(_lateness_table(report))
    console.print()
    console.print(_promises_table(report))
    for detail in report.details[:_DETAILS_MAX]:
        console.print(Text(printable(detail), "red"), soft_wrap=True)
    if (unlisted := len(report.details) - _DETAILS_MAX) > 0:
        console.print(Text(f"and {unlisted:,} more", "red"))


def _lateness_table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("late, in ms")
    for name in ("events", "p50", "p99", "max"):
        table.add_column(name, justify="right")
    for row in report.lateness:
        table.add_row(row.what, *(f"{n:,}" for n in (row.events, row.p50, row.p99, row.worst)))
    return table


def _promises_table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("promise", "", "figures"):
        table.add_column(name)
    for promise in report.promises:
        verdict = Text("kept", "green") if promise.kept else Text("BROKEN", "bold red")
        table.add_row(promise.name, verdict, promise.figure)
    return table


def _shown(event: Delivery) -> str:
    """A record's first line, harmless to a terminal."""
    return printable(event.payload.decode(errors="replace").partition("\n")[0])
