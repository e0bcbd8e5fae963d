"""A record for people: what `chronos log dump` prints of it."""

from __future__ import annotations

from typing import Any

from chronosdb.node.partition import records
from chronosdb.node.partition.carry import Carry
from chronosdb.node.partition.records import Kind, SettleReason
from chronosdb.sched import Cursor
from chronosdb.wal import Record


def describe(record: Record) -> dict[str, Any]:
    """A record for people: `chronos log dump` prints it."""
    facts = _of_events(record) or _of_others(record)
    return facts or {"kind": f"unknown ({record.kind})"}


def _of_events(record: Record) -> dict[str, Any] | None:
    match record.kind:
        case Kind.PUBLISH:
            batch = records.read_batch(record)
            ids = [i.decode(errors="replace") for i in batch.ids()]
            return {
                "kind": "publish",
                "events": [
                    {"offset": record.offset + n, "message_id": ids[n], "schedule_ts": batch.due[n]}
                    for n in range(batch.count)
                ],
            }
        case Kind.FIRE:
            return {"kind": "fire", "offsets": records.read_due(record).offsets.tolist()}
        case Kind.CANCEL:
            return {"kind": "cancel", "offsets": records.read_cancel(record).tolist()}
        case Kind.MOVE:
            due = records.read_due(record)
            rows = zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True)
            return {"kind": "move", "events": [{"offset": o, "schedule_ts": t} for o, t in rows]}
        case Kind.CARRY:
            carry = Carry(record)
            return {"kind": "carry", "events": _carried(carry)}
    return None


def _of_others(record: Record) -> dict[str, Any] | None:
    match record.kind:
        case Kind.SETTLE:
            body = records.read_settle(record)
            reason = SettleReason(body.reason).name.lower()
            return {"kind": "settle", "group": body.group, "reason": reason, "runs": body.pairs}
        case Kind.RETRY:
            retries = records.read_retries(record)
            rows = [row._asdict() for row in retries.rows]
            return {"kind": "retry", "group": retries.group, "retries": rows}
        case Kind.GROUP:
            created = records.read_group(record)
            return {"kind": "group", "group": created.group, "start": created.start}
        case Kind.GROUPS:
            stands = records.read_groups(record)
            return {"kind": "groups", "groups": [_standing(one) for one in stands]}
        case Kind.EPOCH:
            return {"kind": "epoch", "node_id": records.read_epoch(record).node_id}
    return None


def _carried(carry: Carry) -> list[dict[str, Any]]:
    columns = (
        carry.offsets.tolist(),
        carry.batch.ids(),
        carry.due_ms.tolist(),
        carry.pending.tolist(),
    )
    return [
        {
            "offset": offset,
            "message_id": message_id.decode(errors="replace"),
            "schedule_ts": due_ms,
            "pending": pending,
        }
        for offset, message_id, due_ms, pending in zip(*columns, strict=True)
    ]


def _standing(one: records.GroupStands) -> dict[str, Any]:
    cursor = Cursor.from_bytes(one.cursor)
    return {
        "group": one.retries.group,
        "settled_below": cursor.low,
        "settled_above": list(cursor.above()),
        "retries": [row._asdict() for row in one.retries.rows],
    }
