"""Publishing a stream of JSON lines: batches, a tally, and what happens to a line that is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Final

import anyio.to_thread

from chronosdb.client.cli.exits import Exit, Failure, outcome
from chronosdb.client.cli.jsonl import LineSplitter, NumberedLine, parse_line
from chronosdb.client.cli.output import Advance, counted
from chronosdb.client.ids import IdMaker
from chronosdb.client.outcomes import PublishMany
from chronosdb.client.seams import Seams
from chronosdb.wire.errors import Conflict, InvalidArgument
from chronosdb.wire.event import Event

#: Read at a time; the lines in it are published together.
_CHUNK_BYTES: Final = 1024 * 1024

NumberedEvent = tuple[int, Event]


@dataclass(slots=True)
class Tally:
    """How many events were stored or found stored already, and how many lines were skipped."""

    published: int = 0
    duplicates: int = 0
    skipped: int = 0


class BulkPublisher:
    """Publishes lines in order.

    `on_bad_line` is told of each line that is refused and skipped; without it the first such line
    ends the work with a `Failure` that names it.
    """

    def __init__(
        self,
        publish: PublishMany,
        on_bad_line: Callable[[str], None] | None,
        seams: Seams,
    ) -> None:
        self.tally = Tally()
        self._publish = publish
        self._on_bad_line = on_bad_line
        self._seams = seams
        self._ids = IdMaker(seams)

    async def publish(self, source: BufferedIOBase, advance: Advance) -> None:
        """Publish every line of `source`. A pipe is published as it comes, not when it ends.

        Raises:
            Failure: a line was refused, and lines are not to be skipped.
            ChronosError: the node cannot be had.
        """
        splitter = LineSplitter()
        while chunk := await anyio.to_thread.run_sync(
            source.read1, _CHUNK_BYTES, abandon_on_cancel=True
        ):
            await self._publish_lines(_feed(splitter, chunk))
            advance(len(chunk), counted(self.tally.published, "event"))
        await self._publish_lines(splitter.rest())

    async def _publish_lines(self, lines: Sequence[NumberedLine]) -> None:
        batch: list[NumberedEvent] = []
        for number, line in lines:
            if not line.strip():
                continue
            try:
                batch.append((number, self._event(line)))
            except ValueError as error:
                if self._on_bad_line is None:
                    await self._send(batch)
                self._refuse(number, error)
        await self._send(batch)

    def _event(self, line: bytes) -> Event:
        event = parse_line(line, self._seams.now_ms)
        # With an id of its own an event can be sent again: see `_send`.
        return event if event.message_id else event.named(self._ids.take(1)[0])

    async def _send(self, batch: Sequence[NumberedEvent], *, again: bool = False) -> None:
        """Publish `batch`. When the node refuses it, halve it until the refused lines are alone.

        Events of a refused batch may be stored all the same (other partitions), and sending those
        `again` finds them: only the first answer can tell a duplicate.
        """
        if not batch:
            return
        try:
            results = await self._publish([event for _, event in batch])
        except (Conflict, InvalidArgument) as error:
            if len(batch) == 1:
                self._refuse(batch[0][0], error)
                return
            middle = len(batch) // 2
            await self._send(batch[:middle], again=True)
            await self._send(batch[middle:], again=True)
            return
        self.tally.published += len(results)
        self.tally.duplicates += 0 if again else sum(result.duplicate for result in results)

    def _refuse(self, number: int, error: Exception) -> None:
        if self._on_bad_line is None:
            raise _bad_line(f"line {number}: {error}", error)
        self.tally.skipped += 1
        self._on_bad_line(f"line {number}: {error}; skipped")


def _feed(splitter: LineSplitter, chunk: bytes) -> list[NumberedLine]:
    try:
        return splitter.feed(chunk)
    except ValueError as error:
        raise Failure(str(error)) from None


def _bad_line(message: str, error: Exception) -> Failure:
    code = outcome(error)[0] if isinstance(error, Conflict) else Exit.ERROR
    return Failure(f"{message}; mend it and run again: a line with an id is stored once", code)
