from __future__ import annotations

import pytest

from chronosdb.wal import LogOptions


def test_the_defaults_are_those_promised() -> None:
    options = LogOptions()
    assert options.segment_bytes == 512 * 1024 * 1024
    assert options.max_record_bytes == 64 * 1024 * 1024
    assert options.index_interval_bytes == 4096


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_record_bytes": 0}, "max_record_bytes"),
        ({"max_record_bytes": 1 << 30}, "max_record_bytes"),
        ({"segment_bytes": 1 << 20}, "segment_bytes must hold the largest record"),
        ({"index_interval_bytes": 0}, "index_interval_bytes"),
        ({"disk_reserve_bytes": -1}, "disk_reserve_bytes"),
        ({"disk_reserve_bytes": 10, "disk_floor_bytes": 11}, "disk_floor_bytes"),
        ({"allocate_min_bytes": 0}, "allocate_min_bytes"),
        ({"allocate_max_bytes": 1}, "allocate_min_bytes"),
        ({"scan_bytes": 63}, "scan_bytes"),
        ({"open_files_max": 0}, "open_files_max"),
    ],
)
def test_an_impossible_setting_is_named(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogOptions(**change)


def test_the_largest_record_fits_exactly_into_the_smallest_segment() -> None:
    assert LogOptions(segment_bytes=64 + 64 + 100, max_record_bytes=100).group_bytes_max == 164
    with pytest.raises(ValueError, match="segment_bytes"):
        LogOptions(segment_bytes=64 + 64 + 99, max_record_bytes=100)
