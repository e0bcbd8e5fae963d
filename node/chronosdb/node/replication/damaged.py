"""A copy whose log cannot be opened: mended where it lies, or set aside and copied anew.

Nothing is ever deleted: it may be the only one that has it. A folder that was set aside stays beside the
new one, under a name that no partition can have, until an operator removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import trio

from chronosdb.node.partition.opening import OpenPartition
from chronosdb.node.partition.state import durable_lsn
from chronosdb.node.replication.follower import CommittedLost, Follower
from chronosdb.node.replication.mending import Mender, extent_around, place_of
from chronosdb.wal import DamagedRecord, DiskFull, Log, LogDamaged, LogMissing, OutOfRange
from chronosdb.wal.layout import parent

#: What keeps a copy from following and leading.
Trouble: TypeAlias = LogDamaged | DamagedRecord | CommittedLost | DiskFull
#: In the name of a folder that was set aside, before the time at which it was.
ASIDE: Final = ".aside-"


async def until_damaged(follower: Follower) -> DamagedRecord | None:
    """Follow until the views cannot be saved for what is damaged; the log must be opened anew then."""
    try:
        await follower.run()
    except* DamagedRecord as errors:
        damage = [error for error in errors.exceptions if isinstance(error, DamagedRecord)]
    return damage[0]


async def mend_closed(
    mender: Mender,
    plan: OpenPartition,
    replicas: Sequence[str],
    damage: LogDamaged | DamagedRecord,
    lock: trio.Lock,
) -> bool:
    """Whether another copy could put the first damaged record of a log right, that nobody has open.

    Raises:
        LogFailed: the disk failed.
    """
    run = plan.env.threads.run
    try:
        log = await run(_open_for_repair, plan)
    except (LogDamaged, LogMissing, DiskFull):  # not a record of the last segment, or not now
        return False
    # It may be damaged further ahead by now.
    lsn = log.recovery.end_lsn if log.recovery.damage else place_of(damage)
    try:
        mine = await run(extent_around, log, lsn)
        return await mender.mend(plan.identity, replicas, log, mine, lsn=lsn, lock=lock)
    except (DamagedRecord, OutOfRange):  # what comes before it is, too
        return False
    finally:
        await run(log.close)


def _open_for_repair(plan: OpenPartition) -> Log:
    """The log, to be repaired and closed; read-only if it cannot be opened otherwise. Blocks.

    Raises:
        LogMissing: there is no segment left.
        DiskFull: there is no room for what opening writes.
    """
    if not plan.env.disk.exists(plan.directory):
        raise LogMissing(f"there is no {plan.directory}")
    try:
        return _open(plan, writable=True)
    except LogDamaged:
        return _open(plan, writable=False)


def set_aside(plan: OpenPartition) -> str:
    """Give the folder of a log that is closed another name, durably; the name. Blocks."""
    disk = plan.env.disk
    aside = f"{plan.directory}{ASIDE}{plan.env.clock.now_ms()}"
    while disk.exists(aside):
        aside += "+"
    disk.rename(plan.directory, aside)
    disk.fsync_dir(parent(plan.directory))
    return aside


def _open(plan: OpenPartition, *, writable: bool) -> Log:
    identity = plan.identity
    store = plan.views.namespaced(identity.log_id)
    trusted = durable_lsn(store, identity.log_id) if plan.options.fsync != "periodic" else 0
    return Log.open(
        plan.env.disk,
        plan.directory,
        plan.log_options,
        log_id=identity.log_id,
        durable_lsn=trusted,
        writable=writable,
    )
