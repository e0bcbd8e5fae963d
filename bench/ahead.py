"""Events published ahead of their due times, and a consumer that waits for them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

from bench.errors import BenchError
from bench.lab import GRACE_S, WORK_S_MAX, Lab
from bench.load import Load, now_ms, pending
from bench.publishing import publish
from bench.receiving import Receipts, receive
from bench.stopwatch import Spent

#: Published first, to see how fast that goes now.
SAMPLE: Final = 5_000
#: Where the sample's numbers begin, for who has one queue for everything.
SAMPLE_FIRST: Final = 1 << 40

#: How much longer publishing may take than the sample says, and what is added for luck.
SLACK: Final = 2.0
SPARE_MS: Final = 1_000

#: How long after the last due time the consumer still waits.
PATIENCE_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Ahead:
    """Published; the first event is yet to fall due, and a consumer is there."""

    load: Load
    #: When the first events fall due, epoch ms.
    due_ms: int
    receipts: Future[Receipts]

    def received(self) -> Receipts:
        """What came, however little that is.

        Raises:
            TimeoutError: the consumer does not come back.
        """
        return self.receipts.result(WORK_S_MAX + GRACE_S)

    def result(self) -> Receipts:
        """What came, when all did.

        Raises:
            BenchError: an event did not come, came twice, or came early.
        """
        receipts = self.received()
        receipts.check(self.load.count)
        return receipts


def publish_ahead(lab: Lab, address: str, count: int, span_ms: int) -> Ahead:
    """Publish `count` events due within `span_ms`, soon, to a node, with a consumer waiting.

    Raises:
        BenchError: the first fell due before the last was published.
    """
    return ahead(
        lambda load: lab.run(publish, address, load),
        lambda most, until_ms: lab.start(receive, address, "bench", most, until_ms),
        count,
        span_ms,
    )


def ahead(
    publish: Callable[[Load], Spent],
    receive: Callable[[int, int], Future[Receipts]],
    count: int,
    span_ms: int,
    spare_ms: int = SPARE_MS,
) -> Ahead:
    """The same wherever `publish` publishes, and `receive` takes so many events until a time.

    Raises:
        BenchError: the first fell due before the last was published.
    """
    sample = publish(replace(pending("sample", SAMPLE), first=SAMPLE_FIRST))
    due_ms = now_ms() + int(SLACK * sample.wall_s * 1000 * count / SAMPLE) + spare_ms
    load = Load("bench", count, due_ms, span_ms)
    publish(load)
    receipts = receive(count, due_ms + span_ms + PATIENCE_MS)
    if now_ms() >= due_ms:
        raise BenchError("publishing ahead took too long: try again on a quieter machine")
    return Ahead(load, due_ms, receipts)
