"""Payments on asyncio: captured a while after the order, by three workers; a refused one is left for a clerk."""

from __future__ import annotations

import asyncio
import sys

from chronosdb.client import Client, Subscription, connect

TOPIC = "captures"


async def capture(order: str) -> None:
    """Whatever talks to the bank; it is told the order's id, so that a second attempt costs nothing."""
    await asyncio.sleep(0.005)
    if order == "order-7":
        raise ValueError("card expired")


async def work(events: Subscription, captured: asyncio.Queue[str]) -> None:
    """Capture what is due. What the bank refuses is given back, and comes again a little later."""
    async for event in events:
        try:
            async with event:  # acks when the block succeeds, gives the event back when it fails
                await capture(event.message_id)
            captured.put_nowait(event.message_id)
        except ValueError as error:
            print(f"{event.message_id}, attempt {event.attempt}: {error}")


async def given_up(db: Client) -> str:
    """What went wrong for good. A dead letter is on disk a moment after the last refusal."""
    while True:
        async for letter in db.dlq.list(TOPIC):
            return f"{letter.message_id}, {letter.reason}"
        await asyncio.sleep(0.01)


async def main(address: str, count: int = 20) -> None:
    """Run until every payment is captured or given up; a service would never stop."""
    captured: asyncio.Queue[str] = asyncio.Queue()
    async with connect(address) as db:
        await db.create_topic(TOPIC, partitions=2, max_attempts=2, backoff_ms=50)
        async with db.publisher(TOPIC) as publisher:  # makes batches of single events
            for n in range(count):
                await publisher.send(b"9.90 EUR", message_id=f"order-{n}", after=0.2 + n / 100)
        async with db.consume(TOPIC, group="bank", mode="shared") as events:
            workers = [asyncio.create_task(work(events, captured)) for _ in range(3)]
            orders = {await captured.get() for _ in range(count - 1)}
            print("for the clerk:", await given_up(db))
            for worker in workers:
                worker.cancel()
        print(f"{len(orders)} payments captured")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if sys.argv[1:] else "127.0.0.1:9000"))
