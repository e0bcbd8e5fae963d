"""`/metrics` of a real node: the numbers after a small story, and the document that lists them."""

from __future__ import annotations

import re

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from chronosdb.client import Conflict, Event
from tests.process.conftest import StartNode
from tests.process.harness import TOPIC, client, free_port, http_get, now_ms
from tests.tidy.repository import read

Labels = frozenset[tuple[str, str]]
Page = dict[tuple[str, Labels], float]

#: What the Prometheus client says of any Python program.
FOREIGN = ("process_", "python_")


def documented() -> dict[str, tuple[str, str, frozenset[str]]]:
    """Meaning, type and labels of each metric of a node alone in docs/metrics.md."""
    rows = re.findall(
        r"^\| `(chronosdb_\w+)` \| (\w+) \|([^|]*)\| (.*?) \|$",
        read("docs/metrics.md").split("\nA node in a cluster has")[0],
        re.MULTILINE,
    )
    return {
        name: (meaning, kind, frozenset(re.findall(r"\w+", labels)))
        for name, kind, labels, meaning in rows
    }


def described(text: str) -> dict[str, tuple[str, str, frozenset[str]]]:
    """The same, as a scrape says it."""
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith(FOREIGN):
            continue
        # The parser takes the suffix off; in the page, and for whoever queries it, it is there.
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.documentation, family.type, frozenset(labels))
    return found


def numbers(text: str) -> Page:
    """Every sample, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_topic(page: Page, name: str, **labels: str) -> float:
    """One sample of the topic of the harness."""
    return page[f"chronosdb_{name}", frozenset({"topic": TOPIC, **labels}.items())]


async def tell_a_story(address: str, start_node: StartNode) -> None:
    """Five events: one far away, one given up on, three acked; a duplicate, a conflict."""
    node = await start_node("--http", address, "--max-attempts", "1")
    async with client(node) as db:
        due_ms = now_ms()
        await db.publish(TOPIC, b"x", message_id="a", at=due_ms)
        await db.publish(TOPIC, b"x", message_id="a", at=due_ms)
        with pytest.raises(Conflict):
            await db.publish(TOPIC, b"y", message_id="a", at=due_ms)
        await db.publish_many(TOPIC, [Event(payload=b"%d" % n) for n in range(3)])
        await db.publish(TOPIC, b"later", message_id="far", after=3600.0)
        async with db.consume(TOPIC, group="g") as events:
            for n in range(4):
                event = await anext(events)
                await (event.nack(reason="no") if n == 0 else event.ack())
        async with db.consume(f"{TOPIC}.dlq", group="g") as letters:
            await (await anext(letters)).ack()
        await db.cancel(TOPIC, "far")
        # The copy is stored before the original is settled.
        while (await db.group(TOPIC, "g")).lag:  # noqa: ASYNC110 - only the node knows when
            await trio.sleep(0.01)


async def until_the_loop_was_measured(address: str) -> None:
    """The first 100 ms may not have passed yet."""
    with trio.fail_after(10):
        _, text = await http_get(address, "/metrics")
        while not numbers(text)["chronosdb_event_loop_lag_seconds_count", frozenset()]:
            _, text = await http_get(address, "/metrics")


@pytest.mark.slow
async def test_the_numbers_and_their_names(start_node: StartNode) -> None:
    """A scrape counts what happened, and says of each metric what docs/metrics.md says of it."""
    address = f"127.0.0.1:{free_port()}"
    await tell_a_story(address, start_node)
    status, text = await http_get(address, "/metrics")
    assert status == 200
    assert described(text) == documented()
    page = numbers(text)
    assert of_topic(page, "events_published_total") == 5
    assert of_topic(page, "events_duplicate_total") == 1
    assert of_topic(page, "publishes_refused_total", code="conflict") == 1
    assert of_topic(page, "events_fired_total") == 4
    assert of_topic(page, "events_cancelled_total") == 1
    assert of_topic(page, "events_pending") == 0
    assert of_topic(page, "deliveries_total") == 4
    assert of_topic(page, "delivery_lateness_seconds_count") == 4
    assert of_topic(page, "deliveries_settled_total", reason="acked") == 3
    assert of_topic(page, "deliveries_settled_total", reason="dead_lettered") == 1
    assert of_topic(page, "group_lag_events") == 0
    assert page["chronosdb_wal_fsync_seconds_count", frozenset()] > 4
    await until_the_loop_was_measured(address)
