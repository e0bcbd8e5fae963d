"""All other nodes of the cluster: send to them, hear them, know which can be reached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import trio

from chronosdb.node.environment import Network
from chronosdb.node.peers.chance import Chance
from chronosdb.node.peers.handshake import Refusal, Refused, Self
from chronosdb.node.peers.link import Link, LinkOwner
from chronosdb.node.peers.listener import Handler, Listener, ListenerOwner, Listeners
from chronosdb.node.peers.roster import Member, Roster

logger = logging.getLogger(__name__)


class Expelled(Exception):
    """The cluster does not want this node any more, and says why. Start no more."""


class Peers:
    """The node's side of the cluster's connections."""

    def __init__(self, me: Self, network: Network, random: Chance) -> None:
        self._roster = Roster({})
        self._links: dict[str, tuple[Link, trio.CancelScope]] = {}
        self._nursery: trio.Nursery | None = None
        self._handlers: dict[int, Handler] = {}
        self._watchers: list[tuple[Callable[[str], None], Callable[[str], None]]] = []
        self._listeners: list[Callable[[str], None]] = []
        self._expelled: Expelled | None = None
        self._listener = Listener(
            ListenerOwner(me, self._roster, random.randbytes, self._handlers, self._heard)
        )
        self._owner = LinkOwner(
            me,
            self._roster,
            network,
            random.random,
            random.randbytes,
            self._up,
            self._down,
            self._refused,
        )
        self._me = me

    @property
    def expelled(self) -> Expelled | None:
        """Set once a node of the cluster has said that this one is not wanted."""
        return self._expelled

    def handle(self, channel: int, handler: Handler) -> None:
        """Give what comes in on `channel` to `handler`; before `run`."""
        assert channel not in self._handlers, channel
        self._handlers[channel] = handler

    def watch(self, on_up: Callable[[str], None], on_down: Callable[[str], None]) -> None:
        """Hear of each peer that can be reached from now on, and that cannot."""
        self._watchers.append((on_up, on_down))

    def watch_hearing(self, on_heard: Callable[[str], None]) -> None:
        """Hear of each peer whose words come in on a new connection: what was on the old one is lost."""
        self._listeners.append(on_heard)

    def know(self, members: Mapping[str, Member]) -> None:
        """From now on these are the other nodes. Who is not among them, or was removed, is cut off."""
        assert self._me.node_id not in members, members
        self._roster.members = dict(members)
        wanted = {
            name: one.address for name, one in members.items() if one.address and not one.removed
        }
        for name in [n for n, (link, _) in self._links.items() if wanted.get(n) != link.address]:
            self._links.pop(name)[1].cancel()
        for name in [name for name in self._listener.heard if self._unwanted(name)]:
            self._listener.drop(name)
        for name in [name for name in wanted if name not in self._links]:
            self._links[name] = Link(self._owner, name, wanted[name]), trio.CancelScope()
            self._start(name)

    def is_up(self, peer: str) -> bool:
        """Whether what is sent to this peer has a chance to arrive."""
        return peer in self._links and self._links[peer][0].is_up

    def has_room(self, peer: str) -> bool:
        """Whether something large may be sent to it now."""
        return peer in self._links and self._links[peer][0].has_room

    def send(self, peer: str, channel: int, body: bytes) -> bool:
        """Send a frame without waiting; False if it is lost already."""
        return peer in self._links and self._links[peer][0].send(channel, body)

    async def run(
        self, listeners: Listeners, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the connections, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for name in self._links:
                self._start(name)
            task_status.started()
            await self._listener.run(listeners)

    def _start(self, peer: str) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(_run_link, *self._links[peer])

    def _unwanted(self, peer: str) -> bool:
        member = self._roster.members.get(peer)
        return member is None or member.removed

    def _up(self, peer: str) -> None:
        for on_up, _ in self._watchers:
            on_up(peer)

    def _down(self, peer: str) -> None:
        for _, on_down in self._watchers:
            on_down(peer)

    def _heard(self, peer: str) -> None:
        for on_heard in self._listeners:
            on_heard(peer)

    def _refused(self, peer: str, refused: Refused) -> None:
        """A proven refusal for good ends this node; anything else may be a mistake, or a lie."""
        if refused.proven and refused.refusal in {Refusal.REMOVED, Refusal.BIRTH}:
            self._expelled = Expelled(f"peer {peer} says: {refused}")
            self._down(peer)


async def _run_link(link: Link, scope: trio.CancelScope) -> None:
    with scope:
        await link.run()
