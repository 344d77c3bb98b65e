"""Doing the same for many at once."""

import threading

import pytest

from patron_lifecycle.runs.parallel import in_parallel


def test_results_come_in_the_order_of_the_items() -> None:
    """Whoever ends first, the results stand where their items stood."""
    ended = {number: threading.Event() for number in range(4)}
    ended[3].set()

    def last_first(number: int) -> int:
        if number < 3:
            assert ended[number + 1].wait(10)
        ended[number].set()
        return number * 10

    assert in_parallel(last_first, range(4), 4, lambda: True) == [0, 10, 20, 30]


def test_no_more_than_the_width_are_at_work() -> None:
    """With a width of three, three items meet at work, and never a fourth."""
    lock, meeting, at_work, most = threading.Lock(), threading.Barrier(3, timeout=10), 0, 0

    def work(number: int) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        meeting.wait()
        with lock:
            at_work -= 1
        return number

    assert in_parallel(work, range(12), 3, lambda: True) == list(range(12))
    assert most == 3


def test_nothing_is_begun_once_the_time_is_up() -> None:
    """Items that come up too late give None and aren't worked on."""
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return number

    assert in_parallel(work, range(5), 1, lambda: len(done) < 2) == [0, 1, None, None, None]
    assert done == [0, 1]


@pytest.mark.parametrize("width", [0, -1, 1, 100])
def test_any_width_does_all(width: int) -> None:
    """A width below one is one, and no items need no threads."""
    assert in_parallel(str, [1, 2], width, lambda: True) == ["1", "2"]
    assert in_parallel(str, [], width, lambda: True) == []


def test_an_exception_waits_for_what_has_begun() -> None:
    """The first item's exception is raised only when the one beside it has ended."""
    begun, ended = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            assert begun.wait(10)
            raise ValueError("the first")
        begun.set()
        threading.Event().wait(0.05)
        ended.set()

    with pytest.raises(ValueError, match="the first"):
        in_parallel(work, range(2), 2, lambda: True)
    assert ended.is_set()
