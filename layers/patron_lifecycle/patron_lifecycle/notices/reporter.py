"""What happens when an institution run is held or has ended, and when a run has: its report, and who is told.

Both may be asked for again, since an event may come twice: a report is then made anew, and nobody is told twice.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from patron_lifecycle.notices import words
from patron_lifecycle.notices.coming import days_of_notice, key_of
from patron_lifecycle.notices.post import Attachment, NotSent, Operators, Post
from patron_lifecycle.observability import logger
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.reports.bucket import ReportsBucket, Token, link_until
from patron_lifecycle.reports.publication import write_report
from patron_lifecycle.runs.launch import today_in
from patron_lifecycle.runs.model import (
    InstitutionRun,
    Mode,
    Notice,
    NoticeKind,
    NoticeState,
    ReportLink,
    Run,
    Status,
    Trigger,
)
from patron_lifecycle.runs.store import Store

T = TypeVar("T")

MAX_ATTACHED = 5_000_000  # characters; a mail with more may not arrive, and carries a link instead


class NoticeUnclear(Exception):
    """It isn't known whether somebody was told; they are not told again. The text names no address."""


class NotAllTold(Exception):
    """A report could not be made, or somebody not be told. What could be done was done; the text says what wasn't."""


@dataclass(frozen=True)
class Reporter:
    """All that reports and notices need. `post` is None where no sender is set, so that nobody is mailed.

    `link` is what a link's token is put behind; `operator` the name of the function that operators answer with.
    """

    store: Store
    bucket: ReportsBucket
    post: Post | None
    operators: Operators
    link: str
    operator: str
    now: Callable[[], datetime]

    def institution_run(self, run_id: str, code: str) -> None:
        """Publish the report of an institution run, and tell what has come of it. Raises `NotAllTold`.

        Goes by what is stored by now: a hold that was answered meanwhile is told no more. People are told even if the
        report can't be made; their link leads to it as soon as it is there.
        """
        run, one = self.store.run(run_id), self.store.institution_run(run_id, code)
        if run is None or one is None or one.status.keeps_lease:
            logger.info("nothing to report", run_id=run_id, institution=code)
            return
        attempts = _Attempts()
        one, page = attempts.make(partial(self._publish_latest, run, one)) or (one, None)
        if run.mode is Mode.APPLY and one.status is Status.HELD:
            attempts.make(partial(self._tell_operators, NoticeKind.HELD, one, words.of_hold))
        if one.status is Status.FAILED:
            attempts.make(partial(self._tell_operators, NoticeKind.FAILED, one, words.of_failure))
        registered = self.store.institution(code) or one.institution
        if self.post is not None and registered.notices and registered.contacts:
            for kind in kinds_for(run, one, self.now()):
                attempts.make(partial(self._mail, self.post, kind, run, one, registered, page))
        attempts.raise_troubles()

    def run(self, run_id: str) -> None:
        """Publish the report of a run that has ended everywhere, and tell the operators. Raises `NotAllTold`.

        They are told even if the report can't be made.
        """
        run = self.store.run(run_id)
        if run is None or run.finished_at is None:
            logger.info("nothing to report", run_id=run_id)
            return
        ones = self.store.institution_runs(run_id)
        attempts = _Attempts()
        attempts.make(partial(self._publish, run, ones, ""))
        if run.mode is Mode.APPLY or run.trigger is Trigger.SCHEDULE:  # of one's own preview one knows that it is over
            notice = self._notice(NoticeKind.ALL_CLEAR, "", f"{run_id}#{NoticeKind.ALL_CLEAR}", run_id, 1)

            def write() -> Callable[[], None]:
                return partial(self.operators.tell, words.of_run(run, ones, self._new_link(run_id, "")))

            attempts.make(partial(self._once, notice, write))
        attempts.raise_troubles()

    def _publish_latest(self, run: Run, one: InstitutionRun) -> tuple[InstitutionRun, str]:
        """Publish the report of an institution run; as what it is told, and the page.

        A hold may be answered while its report is being made, and the report of the end be there first: then it is
        made once more, so that the one which stays is of the end.
        """
        while True:
            page = self._publish(run, [one], one.code)
            latest = self.store.institution_run(one.run_id, one.code)
            if latest is None or latest.status is one.status or latest.status.keeps_lease:
                return latest or one, page
            one = latest

    def _publish(self, run: Run, institution_runs: Sequence[InstitutionRun], code: str) -> str:
        """Make and put a report; the page."""
        with tempfile.TemporaryDirectory() as folder:
            page = write_report(self.store, run, institution_runs, Path(folder), code)
            self.bucket.put_report(run.run_id, code, Path(folder))
        logger.info("report published", run_id=run.run_id, institution=code)
        return page

    def _tell_operators(
        self, kind: NoticeKind, one: InstitutionRun, letter: Callable[[InstitutionRun, str, str | None], words.Letter]
    ) -> None:
        notice = self._notice(kind, "", f"{one.run_id}#{one.code}#{kind}", one.run_id, 1)

        def write() -> Callable[[], None]:
            return partial(self.operators.tell, letter(one, self.operator, self._new_link(one.run_id, one.code)))

        self._once(notice, write)

    def _mail(
        self, post: Post, kind: NoticeKind, run: Run, one: InstitutionRun, to: Institution, page: str | None
    ) -> None:
        notice = self._notice(kind, one.code, _key(kind, run, one), one.run_id, len(to.contacts))

        def write() -> Callable[[], None]:
            fits = page if to.attach_report and page is not None and len(page) <= MAX_ATTACHED else None
            attached = None if fits is None else Attachment(f"{one.run_id}.html", fits)
            link = None if attached else self._new_link(one.run_id, one.code)
            letter = words.to_contacts(kind, one, link, is_attached=attached is not None)
            return partial(post.mail, to.contacts, letter, attached)

        self._once(notice, write)

    def _notice(self, kind: NoticeKind, code: str, key: str, run_id: str, to: int) -> Notice:
        return Notice(code=code, key=key, kind=kind, run_id=run_id, to=to, at=self.now())

    def _once(self, notice: Notice, write: Callable[[], Callable[[], None]]) -> None:
        """Send a notice unless it was sent before; `write` makes it ready, and gives what sends it.

        Raises `NoticeUnclear`, `NotSent`, or what either raises. What was certainly not sent may be tried again.
        """
        if not self.store.claim_notice(notice):
            found = [one for one in self.store.notices(notice.code, notice.key) if one.key == notice.key]
            if any(one.state is NoticeState.CLAIMED for one in found):
                raise NoticeUnclear(
                    f"the notice {notice.kind} of {notice.run_id} {notice.code} was begun before, and it isn't known "
                    "whether it went out"
                )
            return
        is_written = False
        try:
            send = write()
            is_written = True
            send()
        except Exception as error:
            if not is_written or isinstance(error, NotSent):
                self.store.unclaim_notice(notice)
            raise
        self.store.notice_sent(notice)
        logger.info("notice sent", run_id=notice.run_id, institution=notice.code, kind=notice.kind, to=notice.to)

    def _new_link(self, run_id: str, code: str) -> str:
        token, now = Token.new(), self.now()
        until = link_until(now)
        # Known before it works, so that a link that works can always be revoked.
        self.store.put_link(ReportLink(run_id=run_id, code=code, digest=token.digest, created_at=now, until=until))
        self.bucket.put_link(token.digest, run_id, code, until)
        return f"{self.link.rstrip('/')}/{token.text}"


def kinds_for(run: Run, one: InstitutionRun, now: datetime) -> list[NoticeKind]:
    """What a library's contacts are told, now, of an institution run that is held or has ended."""
    if run.mode is Mode.PREVIEW:
        is_coming = run.action is Action.PURGE and run.trigger is Trigger.SCHEDULE and _is_ahead(run, one, now)
        return [NoticeKind.COMING_PURGE] if is_coming and one.status is Status.COMPLETED else []
    if one.status.keeps_lease:
        return []  # it goes on, if only when Alma has renewed its daily calls
    if one.status is Status.HELD:
        return [NoticeKind.HELD]
    if one.status is Status.FAILED:
        return [NoticeKind.NOT_TAKEN]
    if one.status is not Status.COMPLETED:
        return [NoticeKind.DONE]
    if one.action is Action.DEACTIVATE and not one.changes and not one.to_look_at:
        return []  # a quiet week
    return [NoticeKind.DONE, *([NoticeKind.NOT_TAKEN] if one.to_look_at else [])]


def _key(kind: NoticeKind, run: Run, one: InstitutionRun) -> str:
    """What a notice is about: it is sent once for that. Of a coming purge each of the days on which it is told."""
    if kind is NoticeKind.COMING_PURGE and run.as_of is not None:
        ahead = _days_ahead(run, one)
        return key_of(run.as_of, days_of_notice(one.institution.notice_days, ahead) or ahead)
    return f"{one.run_id}#{kind}"


def _is_ahead(run: Run, one: InstitutionRun, now: datetime) -> bool:
    """Whether the day that a run judges by is still to come: a preview that ended too late announces nothing."""
    return run.as_of is not None and run.as_of > today_in(one.institution, now)


def _days_ahead(run: Run, one: InstitutionRun) -> int:
    """How many days after its start the day is that a run judges by; 0 for one of its own day."""
    return (run.as_of - today_in(one.institution, run.created_at)).days if run.as_of else 0


class _Attempts:
    """Things that are each tried, whatever has become of the others."""

    def __init__(self) -> None:
        self._troubles: list[str] = []

    def make(self, attempt: Callable[[], T]) -> T | None:
        """What comes of it; None when it fails, which is told at the end. Nobody's words but ours are logged."""
        try:
            return attempt()
        except Exception as error:  # noqa: BLE001 - the trouble of one must not keep the others back
            told = str(error) if isinstance(error, NotSent | NoticeUnclear) else type(error).__name__
            logger.error("a report could not be made, or a notice not be sent", error=told)
            self._troubles.append(told)
            return None

    def raise_troubles(self) -> None:
        """Raises `NotAllTold` when something has failed."""
        if self._troubles:
            raise NotAllTold("; ".join(self._troubles))
