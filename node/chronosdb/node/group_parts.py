"""What several nodes have of a group, put together (pure). Each answers for the partitions it leads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from chronosdb.node.fanout.messages import GroupParts
from chronosdb.raft import GroupInfo as Known
from chronosdb.wire.messages import GroupInfo, GroupMember, GroupSummary


def summaries(
    groups: Iterable[Known], partitions: int, parts: Collection[GroupParts]
) -> list[GroupSummary]:
    """The groups that the metadata know, of a topic with so many partitions, as nodes see them."""
    led = {index for part in parts for index in part.partitions}
    members: dict[str, set[str]] = {}
    lags: dict[str, int] = {}
    for part in parts:
        for one in part.groups:
            members.setdefault(one.name, set()).update(one.members)
            lags[one.name] = lags.get(one.name, 0) + one.lag
    return [
        GroupSummary(
            info.group,
            info.mode,
            info.created_ms,
            len(members.get(info.group, ())),
            lags.get(info.group, 0),
            partitions - len(led),
        )
        for info in groups
    ]


def consumed(parts: Iterable[GroupParts]) -> list[str]:
    """The names of the groups that have members anywhere."""
    return sorted({one.name for part in parts for one in part.groups if one.members})


def group(info: Known, partitions: int, parts: Mapping[str, GroupInfo]) -> GroupInfo:
    """One group, by the parts that nodes have of it."""
    rows = {row.partition: row for part in parts.values() for row in part.partitions}
    known = {p for part in parts.values() for p in range(partitions) if p not in part.unknown}
    members = _members(parts)
    generation = info.generation or max((p.generation for p in parts.values()), default=0)
    return GroupInfo(
        info.topic,
        info.group,
        info.mode,
        info.created_ms,
        generation if members else 0,
        [row for _, row in sorted(rows.items())],
        members,
        [p for p in range(partitions) if p not in known],
    )


def _members(parts: Mapping[str, GroupInfo]) -> list[GroupMember]:
    """One row for each member, at however many nodes it is."""
    rows: dict[tuple[str, ...], list[GroupMember]] = {}
    for node, part in parts.items():
        for member in part.members:
            # One without a name is at this node alone.
            name = (member.member,) if member.member else (node, str(member.id))
            rows.setdefault(name, []).append(member)
    return [_member(number, rows[name]) for number, name in enumerate(sorted(rows), 1)]


def _member(number: int, rows: Sequence[GroupMember]) -> GroupMember:
    return GroupMember(
        number,
        rows[0].client,
        sorted({partition for row in rows for partition in row.partitions}),
        sum(row.credits for row in rows),
        sum(row.leased for row in rows),
        rows[0].member,
    )
