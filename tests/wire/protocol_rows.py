"""Writes the messages as rows of the table in docs/protocol.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect as i

from chronosdb.wire.limits import MAX_NAME_CHARS, NAME_PATTERN

_RANGES = {
    (0, 2**16 - 1): "u16",
    (0, 2**32 - 1): "u32",
    (0, 2**63 - 1): "u63",
    (-(2**63), 2**63 - 1): "i64",
    (None, None): "int",
}


def row_of(kind: type[msgspec.Struct]) -> str:
    """How a row of the table begins: tag, name, fields with their types in order."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, i.StructType)
    return f"| {info.tag} | `{kind.__name__}` | {_fields(info)} |"


def struct_of(kind: type[msgspec.Struct]) -> str:
    """The same for a structure inside messages, which has no tag."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, i.StructType)
    return f"| `{kind.__name__}` | {_fields(info)} |"


def _fields(info: i.StructType) -> str:
    return ", ".join(
        f"`{field.name}` {_type(field.type)}{'' if field.required else ' (optional)'}"
        for field in info.fields
    )


def _type(kind: i.Type) -> str:
    return _WORDS[type(kind)](kind)


def _int(kind: i.IntType) -> str:
    low, high = kind.ge, kind.le
    if kind.lt is not None:
        high = kind.lt - 1
    return _RANGES.get((low, high), f"{low}…{high}")


def _str(kind: i.StrType) -> str:
    if kind.pattern == NAME_PATTERN:
        return "name" if kind.max_length == MAX_NAME_CHARS else f"name ≤ {kind.max_length}"
    if kind.pattern is not None:
        words = kind.pattern.removeprefix("^(").removesuffix(r")\Z").split("|")
        return " / ".join(f'"{word}"' for word in words)
    return "str" if kind.max_length is None else f"str ≤ {kind.max_length}"


def _bin(kind: i.BytesType) -> str:
    return "bin" if kind.max_length is None else f"bin {kind.min_length or 0}…{kind.max_length}"


_WORDS: dict[type, Callable[[Any], str]] = {
    i.IntType: _int,
    i.StrType: _str,
    i.BytesType: _bin,
    i.BoolType: lambda _: "bool",
    i.NoneType: lambda _: "nil",
    i.AnyType: lambda _: "any",
    i.MemoryViewType: lambda _: "bin",
    i.StructType: lambda kind: kind.cls.__name__,
    i.LiteralType: lambda kind: " / ".join(f'"{value}"' for value in kind.values),
    i.UnionType: lambda kind: " or ".join(map(_type, kind.types)),
    i.ListType: lambda kind: f"array of {_type(kind.item_type)}",
    i.TupleType: lambda kind: f"array [{', '.join(map(_type, kind.item_types))}]",
    i.DictType: lambda kind: f"map of str to {_type(kind.value_type)}",
}


def structs_in(kinds: set[Any]) -> set[type[msgspec.Struct]]:
    """The structures that fields of `kinds` are made of."""
    found: set[type[msgspec.Struct]] = set()

    def look(kind: i.Type) -> None:
        if isinstance(kind, i.StructType) and kind.cls not in found | kinds:
            found.add(kind.cls)
            visit(kind.cls)
        for part in getattr(kind, "types", getattr(kind, "item_types", ())):
            look(part)
        for name in ("item_type", "value_type"):
            if hasattr(kind, name):
                look(getattr(kind, name))

    def visit(cls: Any) -> None:
        info = msgspec.inspect.type_info(cls)
        assert isinstance(info, i.StructType)
        for field in info.fields:
            look(field.type)

    for kind in kinds:
        visit(kind)
    return found
