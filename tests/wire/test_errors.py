from __future__ import annotations

import copy

import pytest

from chronosdb.wire import errors as e

KINDS = e.ChronosError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("retryable", [True, False])
def test_an_error_comes_back_as_what_it_was(kind: type[e.ChronosError], *, retryable: bool) -> None:
    error = e.error_from_wire(kind.code, "why", retryable=retryable, details={"a": 1})
    assert type(error) is kind
    assert (str(error), error.retryable, error.details) == ("why", retryable, {"a": 1})


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_a_code_of_a_later_release_is_a_plain_error() -> None:
    error = e.error_from_wire("new", "why", retryable=True, details={})
    assert type(error) is e.ChronosError
    assert error.retryable


def test_a_bad_argument_is_also_a_value_error() -> None:
    assert issubclass(e.InvalidArgument, ValueError)


def test_errors_can_be_copied() -> None:
    error = e.NotLeader("why", details={"leader": "n2:9000"})
    assert copy.copy(error).details == {"leader": "n2:9000"}
