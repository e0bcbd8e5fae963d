"""Reminders on trio: each is sent at its time, and can be moved or called off until then."""

from __future__ import annotations

import sys

import trio

from chronosdb.client import Client, Delivery, connect

TOPIC = "reminders"


async def remind(db: Client, appointment: str, text: str, after_s: float) -> None:
    """Store a reminder; doing so again, after a crash or a lost answer, changes nothing."""
    result = await db.publish(TOPIC, text.encode(), message_id=appointment, after=after_s)
    print(f"{appointment}: {'known already' if result.duplicate else 'noted'}")


async def send(event: Delivery) -> None:
    """Whatever sends a message to a person; here it is printed."""
    await trio.sleep(0.01)
    print(f"{event.message_id}: {event.payload.decode()}")


async def work(db: Client, last: str) -> None:
    """Send what falls due, until the reminder `last` is sent; a service would never stop."""
    async with db.consume(TOPIC, group="senders") as events:
        async for event in events:
            async with event:  # acks when the block succeeds, gives the event back when it fails
                await send(event)
            if event.message_id == last:
                return


async def main(address: str) -> None:
    """Take a few reminders in, change two, and send those that remain."""
    async with connect(address) as db, trio.open_nursery() as nursery:
        await db.create_topic(TOPIC)
        nursery.start_soon(work, db, "barber")

        await remind(db, "dentist", "You are expected at ten.", after_s=0.3)
        await remind(db, "dentist", "You are expected at ten.", after_s=0.3)
        await remind(db, "barber", "Tomorrow at noon.", after_s=3600)
        await remind(db, "bank", "Bring your passport.", after_s=3600)

        print("barber:", (await db.reschedule(TOPIC, "barber", after=0.6)).outcome)
        print("bank:", (await db.cancel(TOPIC, "bank")).outcome)


if __name__ == "__main__":
    trio.run(main, sys.argv[1] if sys.argv[1:] else "127.0.0.1:9000")
