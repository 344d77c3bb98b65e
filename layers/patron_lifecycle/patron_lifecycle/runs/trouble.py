"""What made a slice fail, told without anything personal: the kind of error and where, never the text of it."""

from pathlib import PurePath
from traceback import extract_tb

from botocore.exceptions import ClientError

from patron_lifecycle.alma.errors import AlmaError
from patron_lifecycle.observability import logger
from patron_lifecycle.runs.model import InstitutionRun, WorkMessage
from patron_lifecycle.runs.store import Conflict, Store
from patron_lifecycle.vault import VaultUnavailable

PACKAGE = "patron_lifecycle"


class SliceFailed(Exception):
    """What Lambda is to log of an error that made a slice fail, since it logs the text: it is what `told` tells."""


def told(error: BaseException) -> str:
    """An error as the name of its type, what AWS called it if it was AWS's, and the last of our lines that it passed.

    Such as `ClientError (PutItem: ThrottlingException) in runs/dynamo.py, line 178`. Its text may name a patron.
    """
    name = type(error).__name__
    if isinstance(error, ClientError):
        name += f" ({error.operation_name}: {error.response.get('Error', {}).get('Code', 'unknown')})"
    ours = [frame for frame in extract_tb(error.__traceback__) if PACKAGE in PurePath(frame.filename).parts]
    if not ours:
        return name
    parts = PurePath(ours[-1].filename).parts
    below = len(parts) - parts[::-1].index(PACKAGE)
    return f"{name} in {'/'.join(parts[below:])}, line {ours[-1].lineno}"


def note_failure(message: WorkMessage, error: Exception, store: Store) -> None:
    """Log what made a slice fail, and keep it as the institution run's trouble, if that can be done. Raises nothing.

    What Alma or the vault said is kept already. After a conflict another worker is at it, whose work this is no
    trouble of. It stays untouched otherwise, so that it stalls as if nothing had been recorded.
    """
    what = told(error)
    logger.error("slice failed", run_id=message.run_id, institution=message.institution, error=what)
    if isinstance(error, AlmaError | VaultUnavailable | Conflict):
        return
    try:
        stored = store.institution_run(message.run_id, message.institution)
        if stored is not None and _is_about(stored, message):
            store.save(stored.but(trouble=f"the worker met {what}"))
    except Exception as second:  # noqa: BLE001 - the first error is what SQS and people have to hear of
        logger.warning("trouble not noted", run_id=message.run_id, institution=message.institution, error=told(second))


def _is_about(stored: InstitutionRun, message: WorkMessage) -> bool:
    """Whether the institution run has gone no further than to this message."""
    return stored.status.keeps_lease and stored.seq <= message.seq
