"""What DynamoDB charges for: the sizes of items, and the units that reads and writes of them take. Pure.

By AWS's documentation of item sizes, of read and write units, and of global secondary indexes: a read unit is 4 KB read
consistently, or 8 KB otherwise; a write unit is 1 KB, twice that in a transaction; an index takes one write for an item
that comes, goes, or changes, and two for one whose index key changes.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

Item = Mapping[str, Any]  # as the API has it: {"pk": {"S": "…"}}

_READ_BYTES = 4096
_WRITE_BYTES = 1024


class Index(NamedTuple):
    """A global secondary index of all attributes: the names of its keys."""

    name: str
    keys: tuple[str, ...]

    def key_of(self, item: Item | None) -> tuple[Any, ...] | None:
        """The item's key in the index; None where it isn't in it."""
        if item is None or any(name not in item for name in self.keys):
            return None
        return tuple(repr(item[name]) for name in self.keys)


def size_of(item: Item | None) -> int:
    """The bytes of an item, without what DynamoDB adds for its indexes."""
    return sum(len(name.encode()) + _value_size(value) for name, value in (item or {}).items())


def _value_size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode(errors="surrogatepass"))
        case "N":
            return (len(content.lstrip("-").replace(".", "").strip("0")) + 1) // 2 + 1
        case "B":
            return len(content)
        case "BOOL" | "NULL":
            return 1
        case "L":
            return 3 + sum(1 + _value_size(one) for one in content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_size(one) for name, one in content.items())
        case _:
            raise NotImplementedError(f"the size of {kind} isn't known here: add it")


def read_units(size: int, *, consistent: bool) -> float:
    """The units that a read of so many bytes takes; a read of nothing takes as much as one of a byte."""
    return max(1, ceil(size / _READ_BYTES)) * (1 if consistent else 0.5)


def write_units(before: Item | None, after: Item | None) -> int:
    """The units that a write to the table takes, of the larger of the item before and after."""
    return max(1, ceil(max(size_of(before), size_of(after)) / _WRITE_BYTES))


def index_units(index: Index, before: Item | None, after: Item | None) -> int:
    """The units that a write takes in one index."""
    old, new = index.key_of(before), index.key_of(after)
    if old is not None and new is not None and old == new:
        return 0 if before == after else write_units(before, after)
    return (0 if old is None else write_units(before, None)) + (0 if new is None else write_units(None, after))
