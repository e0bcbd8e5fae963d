"""Replay: the stored events of a partition as a stream, in one of four orders.

A course (`courses.py`, `schedule.py`) says which events come next, as rows of offsets; a gatherer
(`gather.py`) fetches them from the log in that order; a stream (`streams.py`) sends them as fast as
its client gives credit. A replay is a function of the log up to its cut alone: it looks at no group
and changes nothing, so it can be begun again anywhere, also after a restart.
"""
