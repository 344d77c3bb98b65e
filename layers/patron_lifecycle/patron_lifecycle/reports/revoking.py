"""Withdrawing the links to a report that went to the wrong people, or that nobody needs any longer."""

from collections import Counter

from patron_lifecycle.observability import logger
from patron_lifecycle.reports.bucket import ReportsBucket
from patron_lifecycle.runs.lookup import known_run, not_in_run
from patron_lifecycle.runs.store import Store

WHOLE_RUN = "whole run"


def revoke(run_id: str, code: str | None, by: str, store: Store, bucket: ReportsBucket) -> dict[str, int]:
    """Let all links to the reports of a run lead nowhere, or those of one institution's; how many, by institution.

    Who has opened a report may still see it for five minutes. Safe to repeat. Raises `InvalidEvent` for a run or an
    institution that there isn't.
    """
    run = known_run(run_id, store)
    if code is not None and code not in run.institutions:
        raise not_in_run(run, code)
    found = [link for link in store.links(run_id) if code in (None, link.code)]
    for link in found:
        bucket.remove_link(link.digest)  # a revoked one too: it may have been put there in the very moment of that
    links = [link for link in found if not link.revoked_by]
    for link in links:
        store.put_link(link.but(revoked_by=by))  # last, so that a link that still works can still be revoked
    revoked = Counter(link.code or WHOLE_RUN for link in links)
    logger.info("links revoked", run_id=run_id, institution=code, links=len(links))
    return dict(revoked)
