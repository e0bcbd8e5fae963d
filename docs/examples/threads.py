"""Webhooks from threads: blocking calls at their time, eight at once, with the client that needs no await."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from chronosdb.client import Event
from chronosdb.client.sync import SyncClient, SyncDelivery, connect

TOPIC = "webhooks"


def call(url: str, body: bytes) -> None:
    """Whatever blocks while it waits for another service."""
    time.sleep(0.02)
    print(f"POST {url} {body.decode()}")


def handle(event: SyncDelivery) -> None:
    """Call one webhook. If that raises, the event is given back, and comes again after a while."""
    with event:
        call(str(event.meta["url"]), event.payload)


def plan(db: SyncClient, count: int) -> None:
    """Store the calls, in one batch for each partition; those of one customer share a partition."""
    now_ms = int(time.time() * 1000)
    calls = [
        Event(
            payload=b'{"invoice": %d}' % n,
            schedule_ts=now_ms + 10 * n,
            message_id=f"invoice-{n}",
            key=b"customer-%d" % (n % 5),
            meta={"url": f"https://customer-{n % 5}.example/paid"},
            relative=True,
        )
        for n in range(count)
    ]
    db.publish_many(TOPIC, calls)


def main(address: str, count: int = 40) -> None:
    """Make `count` calls and end; without `islice`, never end. Credits bound what waits for a thread."""
    with connect(address) as db:
        db.create_topic(TOPIC, partitions=4)
        plan(db, count)
        with (
            db.consume(TOPIC, group="callers", credits=32) as events,
            ThreadPoolExecutor(8) as pool,
        ):
            calls = [pool.submit(handle, event) for event in islice(events, count)]
        print(f"{sum(call.exception() is None for call in calls)} calls succeeded")


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "127.0.0.1:9000")
