"""`chronos demo --cluster`: plays `ClusterStory` and exits with 1 if any promise was broken."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path

import trio

from chronosdb.client.cli.cluster_view import show_cluster
from chronosdb.client.cli.context import App
from chronosdb.client.cli.exits import Failure
from chronosdb.node.demo.cluster_story import ClusterStory, Findings
from chronosdb.wire.messages import ClusterState


def play_cluster(app: App, directory: Path, act_s: float, *, stay: bool) -> None:
    """Play it in `directory`.

    Raises:
        Failure: a promise was broken.
    """

    def say(text: str) -> None:
        if not app.json:
            app.output.text([f"── {text}"])

    def show(state: ClusterState) -> None:
        if not app.json:
            show_cluster(app, state, None)

    story = ClusterStory(directory, say, show, act_s)
    trio.run(_play, story, app, stay)
    if not story.findings.kept:
        raise Failure("a promise was broken")


async def _play(story: ClusterStory, app: App, stay: bool) -> None:
    """Until it is over, or until Ctrl-C, once everything was checked."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        await story.play(checked=lambda findings: _tell(app, findings), stay=stay)
        nursery.cancel_scope.cancel()


async def _end_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for _ in signals:
            scope.cancel()


def _tell(app: App, findings: Findings) -> None:
    if app.json:
        app.output.json({**asdict(findings), "kept": findings.kept})
        return
    app.output.facts(
        [
            ("published", f"{findings.published:,}, each acked by a quorum of its copies"),
            ("lost", findings.lost),
            ("stored twice", findings.repeated),
            ("consumed", f"{findings.consumed:,} of {findings.published:,}"),
            ("longest publish", f"{findings.longest_ms} ms, with a node killed meanwhile"),
            ("in sync again", f"{findings.healed_ms} ms after its start"),
        ]
    )
