"""Generated rows, batches and messages."""

from __future__ import annotations

from hypothesis import strategies as st

from chronosdb.wire import EventBatch, Row, encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW, RELATIVE


def _column(raw: bytes) -> memoryview:
    return memoryview(raw)


NAMES = st.from_regex(r"\A[A-Za-z0-9_-]{1,12}\Z")
NUMBERS = st.integers(0, 2**32 - 1)
COUNTS = st.integers(0, 2**63 - 1)
TIMES = st.integers(-(2**63), 2**63 - 1)
PARTITIONS = st.integers(0, 1023)
COLUMNS = st.binary(max_size=40).map(_column)
TEXTS = st.text(max_size=20)

ROWS = st.builds(
    Row,
    message_id=st.binary(min_size=1, max_size=6),
    due_ms=st.just(NOW) | st.integers(-5, 5) | st.integers(-(2**63), 2**62),
    key=st.binary(max_size=4),
    meta=st.binary(max_size=4),
    payload=st.binary(max_size=12),
    flags=st.sampled_from([0, RELATIVE]),
    expires_ms=st.none() | st.integers(-(2**63), 2**63 - 1),
)
ROW_LISTS = st.lists(ROWS, min_size=1, max_size=10)
BATCHES = ROW_LISTS.map(lambda rows: EventBatch(encode_batch(rows)))

TOPICS = st.builds(
    m.TopicInfo,
    NAMES,
    st.integers(1, 9),
    st.dictionaries(NAMES, st.integers(-9, 9), max_size=3),
    st.lists(TEXTS, max_size=3),
    TIMES,
)

FROM_CLIENT = st.one_of(
    st.builds(m.Ping, NUMBERS),
    st.builds(m.Pong, NUMBERS, TIMES),
    st.builds(m.Closing, TEXTS),
    st.builds(
        m.CreateTopic,
        NUMBERS,
        NAMES,
        st.integers(1, 1024),
        st.dictionaries(NAMES, st.integers(-(2**63), 2**63 - 1), max_size=3),
    ),
    st.builds(m.DescribeTopic, NUMBERS, NAMES),
    st.builds(m.ListTopics, NUMBERS),
    st.builds(m.Publish, NUMBERS, NAMES, PARTITIONS, COLUMNS),
    st.builds(m.Get, NUMBERS, NAMES, PARTITIONS, st.binary(min_size=1, max_size=128)),
    st.builds(
        m.Subscribe,
        request=NUMBERS,
        subscription=NUMBERS,
        topic=NAMES,
        group=NAMES,
        mode=st.sampled_from(["ordered", "shared"]),
        start=st.sampled_from(["earliest", "latest"]) | TIMES,
        credits=st.integers(0, 1_000_000),
    ),
    st.builds(m.Unsubscribe, NUMBERS, NUMBERS),
    st.builds(m.Credit, NUMBERS, st.integers(0, 1_000_000)),
    st.builds(m.Ack, NUMBERS, NUMBERS, PARTITIONS, COLUMNS),
    st.builds(
        m.Nack,
        request=NUMBERS,
        subscription=NUMBERS,
        partition=PARTITIONS,
        position=COUNTS,
        attempt=st.integers(1, 2**16 - 1),
        delay_ms=st.none() | st.integers(0, 10**6),
        reason=TEXTS,
    ),
    st.builds(
        m.Extend,
        request=NUMBERS,
        subscription=NUMBERS,
        partition=PARTITIONS,
        position=COUNTS,
        attempt=st.integers(1, 2**16 - 1),
        extend_ms=st.integers(0, 10**6),
    ),
)

FROM_SERVER = st.one_of(
    st.builds(m.Ping, NUMBERS),
    st.builds(m.Pong, NUMBERS, TIMES),
    st.builds(m.Closing, TEXTS),
    st.builds(m.Done, NUMBERS),
    st.builds(
        m.Failed,
        NUMBERS,
        TEXTS,
        TEXTS,
        st.booleans(),
        st.dictionaries(TEXTS, st.integers(0, 9) | TEXTS, max_size=3),
    ),
    st.builds(m.TopicReply, NUMBERS, TOPICS, st.booleans()),
    st.builds(m.TopicsReply, NUMBERS, st.lists(TOPICS, max_size=3)),
    st.builds(m.Published, NUMBERS, COUNTS, st.binary(max_size=24), st.binary(max_size=3)),
    st.builds(m.GetReply, NUMBERS, TEXTS, COUNTS, TIMES, COLUMNS),
    st.builds(
        m.Deliver,
        subscription=NUMBERS,
        partition=PARTITIONS,
        sent_ms=TIMES,
        positions=COLUMNS,
        offsets=COLUMNS,
        published=COLUMNS,
        attempts=COLUMNS,
        batch=COLUMNS,
    ),
)
