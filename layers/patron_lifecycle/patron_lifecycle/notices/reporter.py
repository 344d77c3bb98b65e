"""What happens when an institution run is held or has ended, and when a run has: its report, and who is told.

Both may be asked for again, since an event may come twice: a report is then made anew, and nobody is told twice.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

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

MAX_ATTACHED = 5_000_000  # characters; a mail with more may not arrive, and carries a link instead


class NoticeUnclear(Exception):
    """It isn't known whether somebody was told; they are not told again. The text names no address."""


class NotAllTold(Exception):
    """Somebody could not be told. What could be done was done; the text says what wasn't."""


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

        Goes by what is stored by now: a hold that was answered meanwhile is told no more.
        """
        run, one = self.store.run(run_id), self.store.institution_run(run_id, code)
        if run is None or one is None or one.status.goes_on:
            logger.info("nothing to report", run_id=run_id, institution=code)
            return
        page = self._publish(run, [one], code)
        told: list[Callable[[], None]] = []
        if run.mode is Mode.APPLY and one.status is Status.HELD:
            told.append(partial(self._tell_operators, NoticeKind.HELD, one, words.of_hold))
        if one.status is Status.FAILED:
            told.append(partial(self._tell_operators, NoticeKind.FAILED, one, words.of_failure))
        registered = self.store.institution(code) or one.institution
        if self.post is not None and registered.notices and registered.contacts:
            told += [partial(self._mail, self.post, kind, run, one, registered, page) for kind in kinds_for(run, one)]
        _do_all(told)

    def run(self, run_id: str) -> None:
        """Publish the report of a run that has ended everywhere, and tell the operators. Raises `NotAllTold`."""
        run = self.store.run(run_id)
        if run is None or run.finished_at is None:
            logger.info("nothing to report", run_id=run_id)
            return
        ones = self.store.institution_runs(run_id)
        self._publish(run, ones, "")
        if run.mode is Mode.PREVIEW and run.trigger is Trigger.MANUAL:
            return  # whoever looks at a preview of their own knows that it is over
        notice = self._notice(NoticeKind.ALL_CLEAR, "", f"{run_id}#{NoticeKind.ALL_CLEAR}", run_id, 1)

        def send() -> None:
            self.operators.tell(words.of_run(run, ones, self._new_link(run_id, "")))

        _do_all([partial(self._once, notice, send)])

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
        self._once(
            notice, lambda: self.operators.tell(letter(one, self.operator, self._new_link(one.run_id, one.code)))
        )

    def _mail(self, post: Post, kind: NoticeKind, run: Run, one: InstitutionRun, to: Institution, page: str) -> None:
        notice = self._notice(kind, one.code, _key(kind, run, one), one.run_id, len(to.contacts))

        def send() -> None:
            attached = (
                Attachment(f"{one.run_id}.html", page) if to.attach_report and len(page) <= MAX_ATTACHED else None
            )
            link = None if attached else self._new_link(one.run_id, one.code)
            post.mail(to.contacts, words.to_contacts(kind, one, link, is_attached=attached is not None), attached)

        self._once(notice, send)

    def _notice(self, kind: NoticeKind, code: str, key: str, run_id: str, to: int) -> Notice:
        return Notice(code=code, key=key, kind=kind, run_id=run_id, to=to, at=self.now())

    def _once(self, notice: Notice, send: Callable[[], None]) -> None:
        """Send a notice unless it was sent before. Raises `NoticeUnclear`, `NotSent`, or what `send` raises."""
        if not self.store.claim_notice(notice):
            found = [one for one in self.store.notices(notice.code, notice.key) if one.key == notice.key]
            if any(one.state is NoticeState.CLAIMED for one in found):
                raise NoticeUnclear(
                    f"the notice {notice.kind} of {notice.run_id} {notice.code} was begun before, and it isn't known "
                    "whether it went out"
                )
            return
        try:
            send()
        except NotSent:
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


def kinds_for(run: Run, one: InstitutionRun) -> list[NoticeKind]:
    """What a library's contacts are told of an institution run that is held or has ended."""
    if run.mode is Mode.PREVIEW:
        is_coming = run.action is Action.PURGE and run.trigger is Trigger.SCHEDULE and _days_ahead(run, one) > 0
        return [NoticeKind.COMING_PURGE] if is_coming and one.status is Status.COMPLETED else []
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


def _days_ahead(run: Run, one: InstitutionRun) -> int:
    """How many days after its start the day is that a run judges by; 0 for one of its own day."""
    return (run.as_of - today_in(one.institution, run.created_at)).days if run.as_of else 0


def _do_all(each: Sequence[Callable[[], None]]) -> None:
    """Do all of them, whatever becomes of one. Raises `NotAllTold`."""
    troubles = []
    for do in each:
        try:
            do()
        except Exception as error:  # noqa: BLE001 - one notice's trouble must not keep the others back
            told = str(error) if isinstance(error, NotSent | NoticeUnclear) else type(error).__name__
            logger.error("a notice could not be sent", error=told)
            troubles.append(told)
    if troubles:
        raise NotAllTold("; ".join(troubles))
