from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.wal import DataDir, layout


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_names_parse_back_and_sort_like_their_lsn(base: int) -> None:
    name = layout.segment_path("/d", base).rpartition("/")[2]
    assert layout.segment_base(name) == base
    assert layout.sidecar_base(name) is None
    index = layout.sidecar_path("/d", base).rpartition("/")[2]
    assert layout.sidecar_base(index) == base
    mark = layout.start_mark_path("/d", base).rpartition("/")[2]
    assert layout.start_mark_lsn(mark) == base
    assert layout.start_mark_lsn(name) is layout.segment_base(mark) is None
    assert layout.segment_path("/d", base) >= layout.segment_path("/d", 0)


@pytest.mark.parametrize("name", ["", "1.log", "0" * 20 + ".log.tmp", "x" * 20 + ".log", "lock"])
def test_other_names_are_not_segments(name: str) -> None:
    assert layout.segment_base(name) is None
    assert layout.sidecar_base(name) is None


def test_paths_are_joined_and_taken_apart() -> None:
    assert layout.join("/d/", "x") == layout.join("/d", "x") == "/d/x"
    assert [layout.parent(path) for path in ("/d/x", "/d", "x", "d/x")] == ["/d", "/", ".", "d"]


def test_the_data_directory_has_one_place_for_everything() -> None:
    data = DataDir("/var/lib/chronos")
    assert (data.lock, data.identity) == ("/var/lib/chronos/lock", "/var/lib/chronos/identity")
    assert (data.raft, data.views) == ("/var/lib/chronos/raft", "/var/lib/chronos/views")
    assert data.partition("7-3") == "/var/lib/chronos/partitions/7-3"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x"])
def test_no_partition_leaves_the_data_directory(name: str) -> None:
    with pytest.raises(AssertionError):
        DataDir("/d").partition(name)
