"""Doing the same for many at once, until the time is up."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    work: Callable[[T], R | None], items: Sequence[T], width: int, may_start: Callable[[], bool]
) -> list[R | None]:
    """The results of `work` for all items, in their order, with at most `width` at work at a time.

    An item that came up when `may_start` had become false is not begun and gives None. The first exception
    is raised when all that had begun have ended.
    """
    with ThreadPoolExecutor(max_workers=max(1, min(width, len(items)))) as threads:
        return list(threads.map(lambda item: work(item) if may_start() else None, items))
