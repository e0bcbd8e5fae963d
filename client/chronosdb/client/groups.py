"""Administration: the groups of a topic, and the end of a topic."""

from __future__ import annotations

import datetime as dt

from chronosdb.client.arguments import check_name, check_start
from chronosdb.client.cluster import Cluster
from chronosdb.client.dlq import DeadLetters
from chronosdb.client.operating import Operating
from chronosdb.client.schedules import Schedules
from chronosdb.client.topics import Topics
from chronosdb.wire import messages as m
from chronosdb.wire.messages import GroupInfo, GroupMove, GroupSummary, NodeStats


class Administration:
    """The part of `Client` that looks after groups, dead letters, schedules and the end of topics."""

    _cluster: Cluster
    _topics: Topics

    @property
    def dlq(self) -> DeadLetters:
        """The dead letters of this node's topics."""
        return DeadLetters(self._cluster, self._topics)

    @property
    def schedules(self) -> Schedules:
        """The recurring schedules of this node."""
        return Schedules(self._cluster)

    @property
    def cluster(self) -> Operating:
        """The nodes, and where copies of partitions are."""
        return Operating(self._cluster)

    async def stats(self) -> NodeStats:
        """How the node and each of its topics do: the numbers behind `chronos top`."""
        return (await self._cluster.call(m.Stats, m.StatsReply)).node

    async def delete_topic(self, name: str) -> None:
        """Delete a topic with its groups and all its events, pending ones included, for good.

        Its dead-letter topic is a topic of its own, and stays.

        Raises:
            NotFound: no such topic.
            Conflict: it is being consumed.
        """
        check_name("topic", name)
        await self._cluster.call(lambda request: m.DeleteTopic(request, name), m.Done)
        self._topics.forget(name)

    async def groups(self, topic: str) -> list[GroupSummary]:
        """The groups of a topic, by name.

        Raises:
            NotFound: no such topic.
        """
        check_name("topic", topic)
        reply = await self._cluster.call(
            lambda request: m.ListGroups(request, topic), m.GroupsReply
        )
        return reply.groups

    async def group(self, topic: str, name: str) -> GroupInfo:
        """One group: its progress in each partition, its members, and how far it is behind.

        Raises:
            NotFound: no such topic or group.
        """
        check_name("topic", topic)
        check_name("group", name)
        reply = await self._cluster.call(
            lambda request: m.DescribeGroup(request, topic, name), m.GroupReply
        )
        return reply.group

    async def reset_group(
        self,
        topic: str,
        name: str,
        *,
        to: str | int | dt.datetime,
        dry_run: bool = False,
        force: bool = False,
    ) -> list[GroupMove]:
        """Let a group begin again: at "earliest", "latest", or with what fired at a time or later.

        Its leases, retries and attempts are forgotten. `dry_run` only says what would be. With
        `force` it is done although members are connected: they go on from there, and an ack of
        something they were sent before counts only if they have been sent it again.

        Raises:
            NotFound: no such topic or group.
            Conflict: it has members.
            TypeError: a naive datetime.
        """
        check_name("topic", topic)
        check_name("group", name)
        place = check_start(to)
        reply = await self._cluster.call(
            lambda request: m.ResetGroup(request, topic, name, place, dry_run, force), m.GroupMoved
        )
        return reply.moves

    async def delete_group(self, topic: str, name: str) -> None:
        """Forget a group; one of that name that comes later begins anew.

        Raises:
            NotFound: no such topic or group.
            Conflict: it has members.
        """
        check_name("topic", topic)
        check_name("group", name)
        await self._cluster.call(lambda request: m.DeleteGroup(request, topic, name), m.Done)
