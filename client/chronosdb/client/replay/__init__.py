"""Reading stored events again, in one of four orders, over all partitions of a topic.

`replay.py` is what the application iterates over; it merges (`merge.py`) one source (`source.py`) per
partition, each of which keeps its stream open over as many connections as it takes. There is no task
in here: everything happens while the application waits for its next event, or in the connection's
reader. So an iteration that is left half-way ends its streams by being forgotten.
"""
