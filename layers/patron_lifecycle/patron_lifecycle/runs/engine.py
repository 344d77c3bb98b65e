"""What runs are driven by: the store, the queue, the notices, what resumes them, and the time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from patron_lifecycle.runs.notices import Notices
from patron_lifecycle.runs.queue import Queue
from patron_lifecycle.runs.resumption import Resumption
from patron_lifecycle.runs.store import Store


@dataclass(frozen=True)
class Engine:
    """All that a run needs to go on, but for Alma.

    `now` tells the time in UTC; `service` is what tells the copies of the service in one account apart, in metrics.
    """

    store: Store
    queue: Queue
    notices: Notices
    resumption: Resumption
    now: Callable[[], datetime]
    service: str
