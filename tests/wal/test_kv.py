"""Both views against a dict, and what LevelDB does when its files are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import plyvel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.wal import KeyValue, LevelKV, MemoryKV, ViewsDamaged
from chronosdb.wal.kv import after_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["memory", "memory part", "level", "level part"])
def kv(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    """A whole view, or a namespace of one with neighbours on both sides."""
    whole: KeyValue
    if request.param.startswith("memory"):
        whole = MemoryKV()
    else:
        whole = LevelKV.open_or_rebuild(str(tmp_path / "views"))
    if request.param.endswith("part"):
        outside = [(b"o", b"1"), (b"ns", b"2"), (b"nt/a", b"3"), (b"z", b"4")]
        whole.write(outside)
        yield whole.namespaced(b"ns/")
        assert [pair for pair in whole.scan() if not pair[0].startswith(b"ns/")] == sorted(outside)
    else:
        yield whole
    whole.close()


def test_what_was_put_is_got(kv: KeyValue) -> None:
    kv.write([(b"a", b"1"), (b"b", b""), (b"\x00", b"\xff")])
    assert kv.get(b"a") == b"1"
    assert kv.get(b"b") == b""
    assert kv.get(b"c") is None
    assert kv.get_many([b"\x00", b"x", b"a"]) == [b"\xff", None, b"1"]
    kv.write([(b"a", b"2")], [b"b"])
    assert kv.get_many([b"a", b"b"]) == [b"2", None]


def test_a_key_put_and_deleted_in_one_batch_is_gone(kv: KeyValue) -> None:
    kv.write([(b"a", b"1")], [b"a", b"never there"])
    assert kv.get(b"a") is None
    assert list(kv.scan()) == []


def test_a_batch_that_fails_half_way_changes_nothing(kv: KeyValue) -> None:
    def broken() -> Iterator[tuple[bytes, bytes]]:
        yield b"a", b"1"
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        kv.write(broken())
    assert list(kv.scan()) == []


def test_a_scan_is_in_key_order_and_half_open(kv: KeyValue) -> None:
    keys = [b"", b"a", b"a\x00", b"b", b"\xff", b"\xff\xff"]
    kv.write((key, key) for key in reversed(keys))
    assert [key for key, _ in kv.scan()] == keys
    assert [key for key, _ in kv.scan(b"a", b"b")] == [b"a", b"a\x00"]
    assert [key for key, _ in kv.scan(b"b")] == [b"b", b"\xff", b"\xff\xff"]
    assert list(kv.scan(b"b", b"a")) == []


def test_a_scan_does_not_see_what_is_written_after_it_began(kv: KeyValue) -> None:
    kv.write([(b"a", b"1"), (b"c", b"1")])
    scan = kv.scan()
    first = next(scan)
    kv.write([(b"b", b"2"), (b"c", b"2")], [b"a"])
    assert [first, *scan] == [(b"a", b"1"), (b"c", b"1")]


def test_the_last_key_is_the_highest_there_is_inside_the_view(kv: KeyValue) -> None:
    assert kv.last() is None
    kv.write([(b"b", b"1"), (b"a\xff", b"2"), (b"", b"3")])
    assert kv.last() == b"b"
    kv.write((), [b"b"])
    assert kv.last() == b"a\xff"


def test_a_range_is_deleted_and_nothing_else(kv: KeyValue) -> None:
    kv.write((b"%05d" % n, b"") for n in range(25_000))
    kv.delete_range(b"00010", b"24990")
    assert len(list(kv.scan())) == 20
    kv.delete_range(b"24995")
    assert len(list(kv.scan())) == 15


def test_a_namespace_of_a_namespace_has_both_prefixes(kv: KeyValue) -> None:
    part = kv.namespaced(b"x").namespaced(b"y")
    part.write([(b"1", b"one")])
    part.close()
    assert kv.get(b"xy1") == b"one"
    assert list(part.scan()) == [(b"1", b"one")]
    part.delete_range(b"")
    assert part.get_many([b"1"]) == [None]
    assert part.get(b"1") is None


@given(st.binary(max_size=3), st.binary(max_size=5))
def test_after_prefix_is_the_first_key_behind(prefix: bytes, key: bytes) -> None:
    stop = after_prefix(prefix)
    assert (prefix <= key and (stop is None or key < stop)) == key.startswith(prefix)


keys = st.binary(max_size=2)
batches = st.lists(
    st.tuples(
        st.lists(st.tuples(keys, st.binary(max_size=2)), max_size=4), st.lists(keys, max_size=3)
    ),
    max_size=10,
)


@settings(max_examples=60)
@given(batches, keys, keys)
def test_a_memory_view_is_a_sorted_dict(
    batches: list[tuple[list[tuple[bytes, bytes]], list[bytes]]], start: bytes, stop: bytes
) -> None:
    kv, model = MemoryKV(), dict[bytes, bytes]()
    for puts, deletes in batches:
        kv.write(puts, deletes)
        model.update(puts)
        for key in deletes:
            model.pop(key, None)
        assert list(kv.scan(start, stop)) == sorted(
            (key, value) for key, value in model.items() if start <= key < stop
        )


def test_a_level_view_survives_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "views")
    kv = LevelKV.open_or_rebuild(path)
    assert not kv.rebuilt
    kv.write([(b"a", b"1")])
    kv.close()
    again = LevelKV.open_or_rebuild(path)
    assert not again.rebuilt
    assert again.get(b"a") == b"1"
    again.close()


def filled(path: Path) -> None:
    kv = LevelKV.open_or_rebuild(str(path), write_buffer_bytes=64 * 1024)
    for first in range(0, 20_000, 1000):
        kv.write((b"%06d" % n, b"v" * 50) for n in range(first, first + 1000))
    kv.close()


@pytest.mark.parametrize("victim", ["MANIFEST-*", "CURRENT"])
def test_a_view_that_cannot_be_opened_is_emptied_and_says_so(tmp_path: Path, victim: str) -> None:
    path = tmp_path / "views"
    filled(path)
    for file in path.glob(victim):
        file.write_bytes(b"rubbish")
    kv = LevelKV.open_or_rebuild(str(path))
    assert kv.rebuilt
    assert kv.namespaced(b"x").rebuilt
    assert list(kv.scan()) == []
    kv.write([(b"a", b"1")])
    assert kv.get(b"a") == b"1"
    kv.close()


def test_a_view_that_lost_a_table_is_emptied_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "views"
    filled(path)
    next(path.glob("*.ldb")).unlink()
    kv = LevelKV.open_or_rebuild(str(path))
    assert kv.rebuilt
    kv.close()


def test_damage_inside_a_table_is_an_error_and_never_wrong_bytes(tmp_path: Path) -> None:
    path = tmp_path / "views"
    filled(path)
    for table in path.glob("*.ldb"):
        data = bytearray(table.read_bytes())
        data[len(data) // 3] ^= 0xFF
        table.write_bytes(data)
    kv = LevelKV.open_or_rebuild(str(path))
    with pytest.raises(ViewsDamaged, match="rebuild the view from the log"):
        list(kv.scan())
    with pytest.raises(ViewsDamaged):
        kv.get_many(b"%06d" % n for n in range(20_000))
    kv.close()


def test_a_view_in_use_is_not_destroyed(tmp_path: Path) -> None:
    path = str(tmp_path / "views")
    kv = LevelKV.open_or_rebuild(path)
    kv.write([(b"a", b"1")])
    with pytest.raises(ViewsDamaged):
        LevelKV.open_or_rebuild(path)
    with pytest.raises(ViewsDamaged):
        LevelKV.destroy(path)
    assert kv.get(b"a") == b"1"
    kv.write([(b"b", b"2")])
    kv.close()
    again = LevelKV.open_or_rebuild(path)
    assert list(again.scan()) == [(b"a", b"1"), (b"b", b"2")]
    again.close()


def test_a_destroyed_view_is_empty(tmp_path: Path) -> None:
    path = str(tmp_path / "views")
    kv = LevelKV.open_or_rebuild(path)
    kv.write([(b"a", b"1")])
    kv.close()
    LevelKV.destroy(path)
    again = LevelKV.open_or_rebuild(path)
    assert list(again.scan()) == []
    assert not again.rebuilt
    again.close()


def test_a_place_where_no_view_can_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "views").write_bytes(b"a file")
    with pytest.raises(ViewsDamaged, match="cannot rebuild"):
        LevelKV.open_or_rebuild(str(tmp_path / "views"))


def test_no_error_of_plyvel_leaves_the_adapter() -> None:
    class Broken:
        def get(self, _: bytes, **_options: bool) -> bytes:
            raise plyvel.IOError("gone")

    kv = LevelKV(Broken(), owner=False, rebuilt=False)
    with pytest.raises(ViewsDamaged, match="cannot get: gone"):
        kv.get(b"a")
