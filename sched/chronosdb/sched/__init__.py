"""Scheduling state, pure: the timing wheel, pending sets, what a group may be sent now, and recurrence.

Nothing here reads a clock, a socket or a random number; they are arguments. Nothing here knows
what an event is: a timer has a key, a delivery a position, a member a number.
"""

from chronosdb.sched.assign import assign
from chronosdb.sched.catch_up import CatchUp, Wanted, wanted
from chronosdb.sched.cursor import Cursor
from chronosdb.sched.errors import CorruptStateError, PolicyError, RecurrenceError, SchedError
from chronosdb.sched.group import Failure, Grant, GroupQueue
from chronosdb.sched.lease import Lease, LeaseTable
from chronosdb.sched.pending import PendingSet
from chronosdb.sched.recurrence import Recurrence
from chronosdb.sched.retry import RetryPolicy
from chronosdb.sched.retry_queue import Retry, RetryQueue
from chronosdb.sched.runs import Run, RunMap, RunSet
from chronosdb.sched.wheel import Wheel
from chronosdb.sched.zones import RELEASE as TZDATA_RELEASE

__all__ = [
    "TZDATA_RELEASE",
    "CatchUp",
    "CorruptStateError",
    "Cursor",
    "Failure",
    "Grant",
    "GroupQueue",
    "Lease",
    "LeaseTable",
    "PendingSet",
    "PolicyError",
    "Recurrence",
    "RecurrenceError",
    "Retry",
    "RetryPolicy",
    "RetryQueue",
    "Run",
    "RunMap",
    "RunSet",
    "SchedError",
    "Wanted",
    "Wheel",
    "assign",
    "wanted",
]
