"""Scheduling state, pure: the timing wheel, pending sets, and what a group may be sent now.

Nothing here reads a clock, a socket or a random number; they are arguments. Nothing here knows
what an event is: a timer has a key, a delivery a position, a member a number.
"""

from chronosdb.sched.assign import assign
from chronosdb.sched.cursor import Cursor
from chronosdb.sched.errors import CorruptStateError, PolicyError, SchedError
from chronosdb.sched.group import Failure, Grant, GroupQueue
from chronosdb.sched.lease import Lease, LeaseTable
from chronosdb.sched.pending import PendingSet
from chronosdb.sched.retry import RetryPolicy
from chronosdb.sched.retry_queue import Retry, RetryQueue
from chronosdb.sched.runs import Run, RunMap, RunSet
from chronosdb.sched.wheel import Wheel

__all__ = [
    "CorruptStateError",
    "Cursor",
    "Failure",
    "Grant",
    "GroupQueue",
    "Lease",
    "LeaseTable",
    "PendingSet",
    "PolicyError",
    "Retry",
    "RetryPolicy",
    "RetryQueue",
    "Run",
    "RunMap",
    "RunSet",
    "SchedError",
    "Wheel",
    "assign",
]
