"""Events published ahead of their due times, and a consumer that waits for them."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from bench.errors import BenchError
from bench.lab import Lab
from bench.load import Load, now_ms, pending
from bench.publishing import publish
from bench.receiving import Receipts, receive

#: Published first, to see how fast that goes now.
SAMPLE: Final = 5_000

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

    def result(self) -> Receipts:
        """What came, when all did.

        Raises:
            BenchError: an event did not come, came twice, or came early.
        """
        receipts = self.receipts.result()
        receipts.check(self.load.count)
        return receipts


def publish_ahead(lab: Lab, address: str, count: int, span_ms: int) -> Ahead:
    """Publish `count` events due within `span_ms`, soon, with a consumer waiting.

    Raises:
        BenchError: the first fell due before the last was published.
    """
    sample = lab.run(publish, address, pending("sample", SAMPLE))
    due_ms = now_ms() + int(SLACK * sample.wall_s * 1000 * count / SAMPLE) + SPARE_MS
    load = Load("bench", count, due_ms, span_ms)
    receipts = lab.start(receive, address, load.topic, count, due_ms + span_ms + PATIENCE_MS)
    lab.run(publish, address, load)
    if now_ms() >= due_ms:
        raise BenchError("publishing ahead took too long: try again on a quieter machine")
    return Ahead(load, due_ms, receipts)
