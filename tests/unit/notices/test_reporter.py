"""What is reported of runs, and who is told: the right figures, the right people, each once, and nobody's name."""

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patron_lifecycle.notices.post import Attachment, NotSent
from patron_lifecycle.notices.reporter import MAX_ATTACHED, NotAllTold, Reporter
from patron_lifecycle.notices.words import Letter
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.reports.bucket import Token
from patron_lifecycle.runs.answers import approve, cancel, reject
from patron_lifecycle.runs.model import (
    BringBack,
    InstitutionRun,
    Mode,
    NoticeKind,
    NoticeState,
    Skipped,
    Status,
    Trigger,
)
from patron_lifecycle.runs.pausing import resume
from tests.samples import CODE, NOW, institution, institution_run, run
from tests.unit.runs.test_guards import HOLDING, held_bench
from tests.unit.runs.test_purge import gone, purge, purging, registry
from tests.workbench import Workbench, registry_of

CONTACTS = ("desk@alder.example.edu", "head@alder.example.edu")
LINK = "https://links.example.edu"


class Mail(NamedTuple):
    """A mail that was sent."""

    to: tuple[str, ...]
    letter: Letter
    attachment: Attachment | None


class Shelf:
    """A reports bucket in memory."""

    def __init__(self) -> None:
        self.reports: dict[tuple[str, str], dict[str, str]] = {}
        self.links: dict[str, tuple[str, str, datetime]] = {}

    def put_report(self, run_id: str, code: str, folder: Path) -> None:
        """See `ReportsBucket`."""
        self.reports[run_id, code] = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}

    def put_link(self, digest: str, run_id: str, code: str, until: datetime) -> None:
        """See `ReportsBucket`."""
        self.links[digest] = (run_id, code, until)

    def remove_link(self, digest: str) -> None:
        """See `ReportsBucket`."""
        self.links.pop(digest, None)


class Outbox:
    """Mails and notices that were sent; `before` may raise as one is."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.told: list[Letter] = []
        self.before: Callable[[], None] = lambda: None

    def mail(self, to: Sequence[str], letter: Letter, attachment: Attachment | None) -> None:
        """See `Post`."""
        self.before()
        self.mails.append(Mail(tuple(to), letter, attachment))

    def tell(self, letter: Letter) -> None:
        """See `Operators`."""
        self.before()
        self.told.append(letter)

    @property
    def subjects(self) -> list[str]:
        """The subjects of all mails."""
        return [mail.letter.subject for mail in self.mails]


class Office:
    """A reporter beside a workbench: it hears of all that the bench's notices have told."""

    def __init__(self, bench: Workbench, *, mails: bool = True, **registered: Any) -> None:
        self.bench, self.out, self.shelf = bench, Outbox(), Shelf()
        usual = {"name": "Alder College", "contacts": CONTACTS, "notices": True}
        for one in bench.store.institutions():
            bench.store.put_institution(one.model_copy(update={**usual, **registered}))
        self.reporter = Reporter(
            store=bench.store,
            bucket=self.shelf,
            post=self.out if mails else None,
            operators=self.out,
            link=LINK,
            operator="the-operator",
            now=bench.time.now,
        )
        self._heard = 0

    def hear(self) -> None:
        """Report on all that was told of institution runs and runs since."""
        for one in self.bench.notices.institution_runs[self._heard :]:
            self.reporter.institution_run(one.run_id, one.code)
        self._heard = len(self.bench.notices.institution_runs)
        for whole in self.bench.notices.runs:
            self.reporter.run(whole.run_id)

    def figures(self, number: int = -1) -> dict[str, int]:
        """The figures in a mail's text, by what they count."""
        text = self.out.mails[number].letter.text
        lines = [line.split(maxsplit=1) for line in text.splitlines() if line[:8].strip().replace(",", "").isdecimal()]
        return {words: int(count.replace(",", "")) for count, words in lines}


def raising(error: Exception) -> Callable[..., None]:
    """What can't be done."""

    def do(*_: object) -> None:
        raise error

    return do


def finished(bench: Workbench, one: InstitutionRun) -> InstitutionRun:
    """The institution run once the queue has run dry."""
    bench.drain()
    return bench.institution_run(one.run_id)


def test_a_library_is_told_of_a_hold_then_of_what_came_of_it() -> None:
    """Held, with whom it would take; then done, and whom it could not take and why, each with the counts of the run."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    office.hear()

    assert office.out.subjects == [
        "Alder College: the purge waits for a decision, 3 patrons would be deleted from Alma"
    ]
    assert office.figures() == {
        "patrons who would be deleted from Alma": 3,
        "patrons with something to be settled first": 1,
    }
    assert "Why it is held: The first purge here, of 3 among 4 candidates." in office.out.mails[0].letter.text

    approve(one.run_id, CODE, "Mira Systems", "looked at it", bench.engine)
    assert finished(bench, one).status is Status.COMPLETED
    office.hear()

    assert office.out.subjects[1:] == [
        "Alder College: 3 patrons were deleted from Alma",
        "Alder College: the purge could not take 1 patron",
    ]
    assert office.figures(1) == {"patrons deleted from Alma": 3, "patrons with something to be settled first": 1}
    assert office.figures(2)["Loans"] == 1
    assert all(mail.to == CONTACTS for mail in office.out.mails)
    assert "Mira" not in "".join(mail.letter.text + mail.letter.html for mail in office.out.mails)


def test_nobody_is_told_twice() -> None:
    """All events come twice, and once more later: no mail and no notice is repeated, and the reports stay."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    office.hear()
    approve(one.run_id, CODE, "Mira", "", bench.engine)
    bench.drain()
    office.hear()
    sent = (len(office.out.mails), len(office.out.told))
    for _ in range(2):
        office._heard = 0
        office.hear()
    assert (len(office.out.mails), len(office.out.told)) == sent == (3, 2)
    assert set(office.shelf.reports) == {(one.run_id, CODE), (one.run_id, "")}


def test_operators_are_told_of_a_hold_with_the_answer_and_then_that_all_is_clear() -> None:
    """The notice of a hold has the event that approves; the last institution's end brings the all clear."""
    bench = held_bench()
    office = Office(bench, notices=False)
    one = purge(bench)
    office.hear()
    (held,) = office.out.told
    assert held.subject == f"Held: purge at Alder College ({CODE})"
    (event,) = [json.loads(line) for line in held.text.splitlines() if line.startswith("{")]
    assert event == {"command": "approve", "run_id": one.run_id, "institution": CODE, "by": "YOUR NAME"}
    assert "the-operator" in held.text
    reject(one.run_id, CODE, "Mira", "", bench.engine)
    office.hear()
    assert office.out.told[1].subject == "Not all clear: purge, 1 rejected of 1 institution"
    assert office.out.mails == [], "the library doesn't want to be mailed"


def test_all_clear_counts_what_was_done_everywhere() -> None:
    """Two institutions that have completed: one notice for the run, with the sums of both."""
    bench = Workbench(registry_of(CODE, "01OHIO_BBB"), users=150)
    office = Office(bench)
    started = bench.start()
    bench.drain()
    office.hear()
    (clear,) = office.out.told
    whole = bench.store.run(started.run_id)
    assert whole is not None
    assert whole.changes > 0
    assert clear.subject == "All clear: deactivation, 2 institutions"
    assert f"{whole.changes}  patrons made INACTIVE" in clear.text
    assert len(office.out.mails) >= 2


def test_a_hold_that_was_answered_is_told_no_more() -> None:
    """The event comes late: the report is of now, and nobody is asked for an answer that was given."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    approve(one.run_id, CODE, "Mira", "", bench.engine)
    office.reporter.institution_run(one.run_id, CODE)
    assert (office.out.mails, office.out.told, office.shelf.reports) == ([], [], {})


def test_a_run_that_was_cancelled_while_paused_did_not_go_on() -> None:
    """Its pauses are told; that it went on isn't, since it didn't."""
    bench = Workbench(users=400)
    bench.alma.institution(CODE).daily_quota = 80
    office = Office(bench)
    run_id = bench.start().run_id
    bench.drain()
    assert bench.institution_run(run_id).status is Status.PAUSED
    cancel(run_id, None, "Ana", bench.engine)
    office.hear()
    text = " ".join(office.out.mails[0].letter.text.split())
    assert "cancelled by a person" in text
    assert "It had paused on 1 day, so as to leave others their share of Alma's daily calls." in text
    assert "went on" not in text


def test_a_rejected_and_a_cancelled_purge_are_told_as_such() -> None:
    """A library that was told of a coming purge hears that nobody was deleted; the words of who said so stay here."""
    for answer in (reject, lambda run_id, code, by, note, engine: cancel(run_id, code, by, engine)):
        bench = held_bench()
        office = Office(bench)
        one = purge(bench)
        office.hear()
        answer(one.run_id, CODE, "Mira Systems", "wrong set", bench.engine)
        office.hear()
        told = office.out.mails[-1].letter
        ended = bench.institution_run(one.run_id).status
        assert told.subject == f"Alder College: the purge was {ended}, 0 patrons were deleted from Alma"
        assert f"{'rejected' if ended is Status.REJECTED else 'cancelled'} by a person" in told.text
        assert "Mira" not in told.text + told.html
        assert "wrong set" not in told.text + told.html


def test_who_could_not_be_brought_back_is_told_as_that() -> None:
    """A reinstatement takes nobody: its words are those of a way back."""
    bench = Workbench(users=0)
    office = Office(bench)
    bench.store.create_run(run("reinstate-1", action=Action.REINSTATE, bring_back=BringBack(set_id="1")))
    one = institution_run(
        "reinstate-1",
        action=Action.REINSTATE,
        bring_back=BringBack(set_id="1"),
        status=Status.COMPLETED,
        outcomes={Outcome.REINSTATED: 4, Outcome.SKIPPED: 2},
        reasons={"not_found": 2},
        candidates=6,
        day=NOW.date(),
        finished_at=NOW,
    )
    bench.store.create_institution_run(one)
    office.reporter.institution_run("reinstate-1", CODE)
    assert office.out.subjects == [
        f"Library {CODE}: 4 patrons were made ACTIVE again",
        f"Library {CODE}: the reinstatement could not bring back 2 patrons",
    ]
    assert "2 patrons could not be brought back" in office.out.mails[1].letter.text


def test_a_failed_run_is_told_to_both() -> None:
    """Operators get why, and the library that it failed and how far it came."""
    bench = purging(gone("fern"), registered=registry('{set_name: "No such set"}'))
    office = Office(bench)
    one = purge(bench)
    assert one.status is Status.FAILED
    office.hear()
    assert office.out.subjects == ["Alder College: the purge failed, 0 patrons were deleted from Alma before that"]
    assert [letter.subject for letter in office.out.told] == [
        f"Failed: purge at Alder College ({CODE})",
        "Not all clear: purge, 1 failed of 1 institution",
    ]
    assert "No such set" in office.out.told[0].text


def test_a_preview_by_hand_is_told_to_nobody_but_has_its_report() -> None:
    """Whoever previews by hand looks for themselves."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench, mode="preview")
    office.hear()
    assert (office.out.mails, office.out.told) == ([], [])
    assert set(office.shelf.reports[one.run_id, CODE]) == {"report.html", "outcomes.csv", "run.json"}


def test_the_coming_purge_is_told_with_whom_it_will_take_and_why_others_stay() -> None:
    """A preview that the daily schedule has started for the purge day is mailed, once for each day of notice."""
    bench = held_bench()
    office = Office(bench, notice_days=(14, 1))
    coming = date(2026, 12, 1)
    one = purge(bench, mode="preview", trigger="schedule", as_of=str(coming), request_id="first")
    office.hear()
    assert office.out.subjects == ["Alder College: the purge on December 1, 2026 will take 3 patrons"]
    assert office.figures()["patrons who would be deleted from Alma"] == 3
    assert "wait until somebody has approved it" in office.out.mails[0].letter.text
    (told,) = bench.store.notices(CODE, "")
    assert (told.key, told.kind, told.state) == (
        "coming_purge#2026-12-01#014",
        NoticeKind.COMING_PURGE,
        NoticeState.SENT,
    )
    again = purge(bench, mode="preview", trigger="schedule", as_of=str(coming), request_id="second")
    assert again.run_id != one.run_id
    office.hear()
    assert len(office.out.mails) == 1


@pytest.mark.parametrize("as_of", [None, "2026-11-23", "2026-11-01"])
def test_a_scheduled_preview_of_today_announces_nothing(as_of: str | None) -> None:
    """The monthly schedule of a stack that only previews doesn't tell libraries of a purge that won't be."""
    bench = held_bench()
    office = Office(bench)
    purge(bench, mode="preview", trigger="schedule", **({"as_of": as_of} if as_of else {}))
    office.hear()
    assert office.out.mails == []
    assert [letter.subject for letter in office.out.told] == ["All clear: purge preview, 1 institution"]


def test_a_quiet_week_is_not_mailed() -> None:
    """A deactivation that found nobody and left nobody to look at sends no mail; a purge always does."""
    bench = Workbench(users=0)
    office = Office(bench)
    bench.run()
    office.hear()
    assert office.out.mails == []
    empty = purging(registered=HOLDING)
    purge_office = Office(empty)
    purge(empty)
    purge_office.hear()
    assert purge_office.out.subjects == ["Alder College: 0 patrons were deleted from Alma"]


def test_who_is_mailed_is_whom_the_registry_names_now() -> None:
    """A contact who has left since the run began isn't written to."""
    bench = held_bench()
    office = Office(bench)
    purge(bench)
    now = bench.store.institution(CODE)
    assert now is not None
    bench.store.put_institution(now.model_copy(update={"contacts": ("new@alder.example.edu",)}))
    office.hear()
    assert [mail.to for mail in office.out.mails] == [("new@alder.example.edu",)]


def test_without_a_sender_nobody_is_mailed_and_the_rest_goes_on() -> None:
    """A stack without NoticeSender makes reports and tells operators."""
    bench = held_bench()
    office = Office(bench, mails=False)
    purge(bench)
    office.hear()
    assert office.out.mails == []
    assert len(office.out.told) == 1
    assert bench.store.notices(CODE, "") == []


def test_a_mail_links_to_the_report_for_fourteen_days() -> None:
    """The link's token is in the mail alone; what is kept knows it by its digest."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    office.hear()
    (mail,) = office.out.mails
    assert mail.attachment is None
    (address,) = [line for line in mail.letter.text.splitlines() if line.startswith(LINK)]
    token = Token.of(address.removeprefix(f"{LINK}/"))
    assert office.shelf.links[token.digest][:2] == (one.run_id, CODE)
    until = office.shelf.links[token.digest][2]
    assert timedelta(days=14) - (until - bench.time.now()) < timedelta(minutes=1)
    assert f'href="{address}"' in mail.letter.html
    known = {link.digest: link for link in bench.store.links(one.run_id)}
    assert set(known) == set(office.shelf.links), "each can be revoked"
    assert token.text not in str(known) + str(office.shelf.links)


def test_a_library_may_have_the_report_attached() -> None:
    """Then the mail has no link; a report too large for a mail is linked to all the same."""
    bench = held_bench()
    office = Office(bench, attach_report=True, notices=True)
    one = purge(bench)
    office.hear()
    (mail,) = office.out.mails
    assert mail.attachment is not None
    assert mail.attachment.html == office.shelf.reports[one.run_id, CODE]["report.html"]
    assert LINK not in mail.letter.text
    assert "fern" in mail.attachment.html


def test_a_report_too_large_to_attach_is_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail that would not arrive helps nobody."""
    monkeypatch.setattr("patron_lifecycle.notices.reporter.MAX_ATTACHED", 10)
    assert MAX_ATTACHED > 10
    bench = held_bench()
    office = Office(bench, attach_report=True)
    purge(bench)
    office.hear()
    (mail,) = office.out.mails
    assert mail.attachment is None
    assert LINK in mail.letter.text


def test_no_mail_names_a_patron() -> None:
    """Neither id nor name, in no mail and no notice, through hold, approval, loans and a rejection."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    office.hear()
    approve(one.run_id, CODE, "Mira", "", bench.engine)
    bench.drain()
    office.hear()
    letters = [mail.letter for mail in office.out.mails] + office.out.told
    text = " ".join(part for letter in letters for part in letter).casefold()
    assert len(letters) == 5
    for patron in ("fern", "reed", "sage", "loaned"):
        assert patron not in text


def test_what_was_refused_is_tried_again_and_the_rest_is_sent() -> None:
    """SES refuses a mail: the operators are told all the same, the event fails, and its repeat sends the mail."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    refusals = [NotSent("SES refuses a notice: TooManyRequestsException")]
    told: list[str] = []

    def refuse_mails_once() -> None:
        told.append("")
        if len(told) == 2 and refusals:
            raise refusals.pop()

    office.out.before = refuse_mails_once
    with pytest.raises(NotAllTold, match="TooManyRequestsException"):
        office.reporter.institution_run(one.run_id, CODE)
    assert (len(office.out.told), office.out.mails) == (1, [])
    office.reporter.institution_run(one.run_id, CODE)
    assert (len(office.out.told), len(office.out.mails)) == (1, 1)


def test_what_may_have_gone_out_is_not_sent_again_but_told() -> None:
    """The connection breaks while SES has the mail: nobody gets it twice, and the event goes on failing."""
    bench = held_bench()
    office = Office(bench, notices=True)
    one = purge(bench)
    calls: list[str] = []

    def break_mails() -> None:
        calls.append("")
        if len(calls) == 2:
            raise TimeoutError

    office.out.before = break_mails
    with pytest.raises(NotAllTold, match="TimeoutError"):
        office.reporter.institution_run(one.run_id, CODE)
    for _ in range(2):
        with pytest.raises(NotAllTold, match="it isn't known whether it went out"):
            office.reporter.institution_run(one.run_id, CODE)
    assert office.out.mails == []


def test_what_never_left_is_tried_again() -> None:
    """The link to the report can't be stored: nothing was sent yet, so the event's repeat tells everybody."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    put_link, office.shelf.put_link = office.shelf.put_link, raising(TimeoutError())  # type: ignore[method-assign]
    with pytest.raises(NotAllTold, match=r"^TimeoutError; TimeoutError$"):
        office.reporter.institution_run(one.run_id, CODE)
    assert (office.out.mails, office.out.told) == ([], [])
    office.shelf.put_link = put_link  # type: ignore[method-assign]
    office.reporter.institution_run(one.run_id, CODE)
    assert (len(office.out.mails), len(office.out.told)) == (1, 1)


def test_people_are_told_even_if_the_report_cannot_be_made() -> None:
    """Nobody waits seven days for an answer that nobody was asked for; the event fails, and its repeat is a report."""
    bench = held_bench()
    office = Office(bench, attach_report=True)
    one = purge(bench)
    put, office.shelf.put_report = office.shelf.put_report, raising(ValueError("fern"))  # type: ignore[method-assign]
    with pytest.raises(NotAllTold, match=r"^ValueError$"):
        office.reporter.institution_run(one.run_id, CODE)
    assert (len(office.out.mails), len(office.out.told)) == (1, 1)
    assert office.out.mails[0].attachment is None
    assert LINK in office.out.mails[0].letter.text
    reject(one.run_id, CODE, "Mira", "", bench.engine)
    with pytest.raises(NotAllTold, match=r"^ValueError$"):
        office.reporter.run(one.run_id)
    assert len(office.out.told) == 2
    office.shelf.put_report = put  # type: ignore[method-assign]
    office.reporter.run(one.run_id)
    assert (len(office.out.told), set(office.shelf.reports)) == (2, {(one.run_id, "")})


@pytest.mark.parametrize("answer", [reject, approve])
def test_a_hold_that_is_answered_while_its_report_is_made_leaves_no_old_report(answer: Callable[..., object]) -> None:
    """The report of the end may be there first: the older one doesn't stay, and nobody is asked any more."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench)
    put = office.shelf.put_report
    answers = [lambda: answer(one.run_id, CODE, "Mira", "", bench.engine)]

    def put_late(run_id: str, code: str, folder: Path) -> None:
        while answers:
            answers.pop()()
        put(run_id, code, folder)

    office.shelf.put_report = put_late  # type: ignore[method-assign]
    office.reporter.institution_run(one.run_id, CODE)
    assert [subject for subject in office.out.subjects if "waits for a decision" in subject] == []
    assert office.out.told == []
    if answer is reject:
        told = json.loads(office.shelf.reports[one.run_id, CODE]["run.json"])
        assert told["institutions"][0]["status"] == "rejected"
        assert office.out.subjects == ["Alder College: the purge was rejected, 0 patrons were deleted from Alma"]


def test_a_preview_that_failed_says_that_it_has_deleted_nobody() -> None:
    """Whom it would have deleted before it failed is told as that."""
    bench = Workbench(users=0)
    office = Office(bench)
    preview: dict[str, Any] = {"action": Action.PURGE, "mode": Mode.PREVIEW}
    bench.store.create_run(run("purge-1", trigger=Trigger.SCHEDULE, **preview))
    outcomes, reasons = {Outcome.WOULD_PURGE: 300}, {"not_attempted": 100}
    one = institution_run(
        "purge-1", status=Status.FAILED, outcomes=outcomes, reasons=reasons, candidates=400, **preview
    )
    bench.store.create_institution_run(one)
    office.reporter.institution_run("purge-1", CODE)
    (told,) = office.out.told
    assert told.subject.startswith("Failed: purge preview at ")
    assert "The purge preview of today failed, and nobody was changed, as in any preview." in told.text
    assert "300  patrons who would be deleted from Alma" in told.text
    assert "were deleted" not in told.text


@pytest.mark.parametrize(("days_later", "mails"), [(7, 1), (8, 0), (9, 0)])
def test_a_purge_whose_day_has_come_is_announced_no_more(days_later: int, mails: int) -> None:
    """A preview that ends too late, or an event that comes late, must not tell of what was done already as coming."""
    bench = held_bench()
    office = Office(bench)
    one = purge(bench, mode="preview", trigger="schedule", as_of="2026-12-01")
    bench.time.sleep(timedelta(days=days_later).total_seconds())
    office.reporter.institution_run(one.run_id, CODE)
    assert len(office.out.mails) == mails


def test_a_run_in_which_nobody_could_take_part_is_not_all_clear() -> None:
    """Every institution was skipped: the operators are told that nothing was started, and why."""
    bench = Workbench(users=0)
    office = Office(bench)
    skipped = (Skipped(institution=CODE, reason="disabled: set enabled: true"),)
    bench.store.create_run(run("purge-1", institutions=(), skipped=skipped, open_count=0, finished_at=NOW))
    office.reporter.run("purge-1")
    (told,) = office.out.told
    assert told.subject == "Nothing was started: deactivation"
    assert f"Left out: {CODE}. Disabled: set enabled: true." in told.text


def test_what_is_not_there_or_goes_on_is_let_be() -> None:
    """An event of a run that the retention has taken, or that goes on after all, does nothing."""
    bench = Workbench(users=0)
    office = Office(bench)
    started = bench.start()
    office.reporter.institution_run(started.run_id, CODE)
    office.reporter.institution_run("no-such-run", CODE)
    office.reporter.run(started.run_id)
    office.reporter.run("no-such-run")
    assert (office.out.mails, office.out.told, office.shelf.reports) == ([], [], {})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=200).filter(lambda text: bool(text.strip())))
def test_any_name_makes_a_subject_of_one_line_and_harmless_html(name: str) -> None:
    """A library may be called anything."""
    bench = Workbench(users=0)
    office = Office(bench)
    one = institution(name=name, contacts=CONTACTS, notices=True)
    bench.store.put_institution(one)
    bench.store.create_run(run("purge-1", action=Action.PURGE))
    held = institution_run("purge-1", institution=one, action=Action.PURGE, status=Status.HELD, held_at=NOW)
    bench.store.create_institution_run(held)
    office.reporter.institution_run("purge-1", CODE)
    (mail,) = office.out.mails
    assert mail.letter.subject.isprintable()
    assert "<script" not in mail.letter.html


def test_a_pause_is_told_to_nobody_and_the_end_tells_of_it() -> None:
    """While it is paused there is no report, no mail and no all clear; in the end both say on how many days it was."""
    bench = Workbench(users=400)
    bench.alma.institution(CODE).daily_quota = 80
    office = Office(bench)
    started = bench.start()
    bench.drain()
    office.hear()
    office.reporter.run(started.run_id)
    assert (office.out.mails, office.out.told, office.shelf.reports) == ([], [], {})
    assert bench.institution_run(started.run_id).status is Status.PAUSED
    bench.alma.renew_quotas()
    bench.time.seconds += 24 * 3600
    resume(started.run_id, None, bench.engine)
    bench.drain()
    office.hear()
    assert bench.institution_run(started.run_id).status is Status.COMPLETED
    assert "It had paused on 1 day, so as to leave others" in office.out.mails[0].letter.text
    assert "paused on 1 day: Alma's daily calls" in " ".join(office.out.told[-1].text.split())
