"""One checker for every history: which of the promises of design §4 it judges, and which it finds broken.

It shares no code with the node; only the dump of the logs, made beforehand, decodes records.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.proof.checker.brackets import Seen, bracket
from tests.proof.checker.case import Case
from tests.proof.checker.columns import Rows, Table
from tests.proof.checker.dedup import check_dedup
from tests.proof.checker.durable import check_durable
from tests.proof.checker.intake import read_tables
from tests.proof.checker.liveness import check_clock, check_liveness
from tests.proof.checker.logs import read_logs
from tests.proof.checker.nodes import check_nodes
from tests.proof.checker.order import check_order
from tests.proof.checker.phantom import check_phantoms
from tests.proof.checker.progress import check_progress, check_settled
from tests.proof.checker.punctual import check_delivered, check_never_early
from tests.proof.checker.recurring import check_recurring
from tests.proof.checker.replays import check_replays
from tests.proof.checker.replicas import check_replicas
from tests.proof.checker.tables import Tables
from tests.proof.checker.timers import check_timers
from tests.proof.checker.verdict import INVARIANTS, Verdict, Violation
from tests.proof.history import Line

__all__ = ["INVARIANTS", "Verdict", "Violation", "check"]

_CHECKS = (
    check_durable,
    check_phantoms,
    check_recurring,
    check_never_early,
    check_delivered,
    check_dedup,
    check_order,
    check_progress,
    check_settled,
    check_nodes,
    check_replicas,
    check_replays,
    check_timers,
    check_liveness,
    check_clock,
)


def check(lines: Iterable[Line]) -> Verdict:
    """Judge a history. Raises BadHistory when it cannot be read."""
    case = _case(read_tables(lines))
    verdict = Verdict()
    for one in _CHECKS:
        one(case, verdict)
    return verdict


def _case(tables: Tables) -> Case:
    logs = read_logs(tables)
    parts = {
        name: getattr(tables, name).all().by("log") for name in ("published", "delivered", "acked")
    }

    def part(name: str, number: int) -> Rows:
        table: Table = getattr(tables, name)
        found: Rows | None = parts[name].get(number)
        return table.none() if found is None else found

    brackets = {
        number: bracket(
            tables,
            log,
            Seen(part("published", number), part("delivered", number), part("acked", number)),
        )
        for number, log in logs.items()
    }
    return Case(tables, logs, brackets)
