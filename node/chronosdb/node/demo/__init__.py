"""`chronos demo`: a real node, real records at their real spacing, kill -9 in the middle, and a check.

`sources` finds records that nobody here wrote, `timetable` compresses their times, `story` plays
them against a node in a process of its own (`child`) and keeps the `tally`, `screen` shows it, `audit`
reads the logs afterwards, and `report` holds all of it against the promises.
"""

from chronosdb.node.demo.command import demo

__all__ = ["demo"]
