"""What a client's messages about groups, dead letters and the deletion of topics do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from chronosdb.node.groups import AnyGroups
from chronosdb.node.partition.records import SettleReason
from chronosdb.node.redrive import Redrive
from chronosdb.node.runs import decode_runs
from chronosdb.wire import messages as m

#: A redriven letter is acked: its event is in its topic again.
_REASONS: Final = {"redriven": SettleReason.ACKED, "purged": SettleReason.PURGED}


class AdminRequests:
    """These requests of one connection; `answer` sends the one reply that each of them has."""

    def __init__(
        self, groups: AnyGroups, redrive: Redrive, answer: Callable[[m.Message], None]
    ) -> None:
        self._groups = groups
        self._redrive = redrive
        self._answer = answer

    def handlers(self) -> dict[type, Callable[[Any], Awaitable[None]]]:
        """What to do with each message."""
        return {
            m.ListGroups: self._list_groups,
            m.DescribeGroup: self._describe_group,
            m.ResetGroup: self._reset_group,
            m.DeleteGroup: self._delete_group,
            m.DeleteTopic: self._delete_topic,
            m.ListDeadLetters: self._list_dead_letters,
            m.SettleDeadLetters: self._settle_dead_letters,
        }

    async def _list_groups(self, message: m.ListGroups) -> None:
        groups = await self._groups.summaries(message.topic)
        self._answer(m.GroupsReply(message.request, groups))

    async def _describe_group(self, message: m.DescribeGroup) -> None:
        info = await self._groups.describe(message.topic, message.group)
        self._answer(m.GroupReply(message.request, info))

    async def _reset_group(self, message: m.ResetGroup) -> None:
        moves = await self._groups.reset(
            message.topic, message.group, message.to, dry_run=message.dry_run, force=message.force
        )
        self._answer(m.GroupMoved(message.request, list(moves)))

    async def _delete_group(self, message: m.DeleteGroup) -> None:
        await self._groups.delete(message.topic, message.group)
        self._answer(m.Done(message.request))

    async def _delete_topic(self, message: m.DeleteTopic) -> None:
        await self._groups.delete_topic(message.name)
        self._answer(m.Done(message.request))

    async def _list_dead_letters(self, message: m.ListDeadLetters) -> None:
        page = self._redrive.page(
            message.request, message.topic, message.partition, message.position, message.limit
        )
        self._answer(page)

    async def _settle_dead_letters(self, message: m.SettleDeadLetters) -> None:
        runs = decode_runs(message.runs)
        await self._redrive.settle(
            message.topic, message.partition, runs, _REASONS[message.outcome]
        )
        self._answer(m.Done(message.request))
