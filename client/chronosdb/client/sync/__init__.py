"""The client without `await`: the same names, for programs that use threads.

    from chronosdb.client.sync import connect

    with connect("127.0.0.1:9000") as db:
        db.publish("orders", b"...", after=30.0)
        with db.consume("orders", group="billing") as events:
            for event in events:
                event.ack()

One background thread runs the real client, so heartbeats, reconnects and arriving events go on while
your code blocks. Any number of threads may use one client, its subscriptions and its deliveries.
"""

from __future__ import annotations

from chronosdb.client.sync.client import SyncClient, connect
from chronosdb.client.sync.consuming import SyncBatch, SyncDelivery, SyncSubscription

__all__ = ["SyncBatch", "SyncClient", "SyncDelivery", "SyncSubscription", "connect"]
