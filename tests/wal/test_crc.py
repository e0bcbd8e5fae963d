from __future__ import annotations

import pytest

from chronosdb.wal import crc


def test_the_published_check_value_of_crc_32c() -> None:
    assert crc.crc32c(b"123456789") == 0xE3069283
    assert crc.definition(b"123456789") == 0xE3069283


def test_a_checksum_continues_from_the_bytes_before() -> None:
    data = bytes(range(256)) * 5
    assert crc.crc32c(data[100:], crc.crc32c(data[:100])) == crc.crc32c(data)


def test_a_wrong_accelerator_is_not_used() -> None:
    def wrong(data: bytes, crc_before: int = 0, /) -> int:
        return crc.definition(data, crc_before) ^ (len(data) > 100)

    assert not crc.agrees(wrong)
    assert crc.choose(wrong) is crc.definition


def test_without_an_accelerator_the_definition_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(crc, "import_module", missing)
    assert crc.accelerated() is None
    assert crc.choose(None) is crc.definition


def test_this_environment_has_the_accelerator() -> None:
    """It is locked as a dependency: the measured speed rests on it."""
    assert crc.crc32c is not crc.definition
