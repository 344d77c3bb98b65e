"""Writes docs/rules.md from the rules, reasons and guards in the code: `python -m scripts.rules_page`, or `make rules`.

A test holds the page to the code, so it can't say anything else than what is done.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from patron_lifecycle.policy.model import ActionPolicy, Deactivate, Protect, Purge, Reinstate, Restore, Select
from patron_lifecycle.policy.reasons import ALMA_ERROR, Caution, Explanation, Outcome, Reason
from patron_lifecycle.policy.rules import rules_for
from patron_lifecycle.runs.guards import Guard
from patron_lifecycle.runs.model import HOLD_DAYS

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"
_SWEEP = Select(sweep=True)
_ACTIONS: tuple[tuple[str, str, ActionPolicy], ...] = (
    ("Deactivate", "A patron for whom none of these holds becomes INACTIVE.", Deactivate(select=_SWEEP)),
    ("Purge", "A patron for whom none of these holds is deleted.", Purge(select=_SWEEP)),
    (
        "Reinstate",
        "A patron for whom none of these holds becomes ACTIVE again. `unproven` and `changed_since` are asked of those "
        "alone whom a run that is undone had deactivated.",
        Reinstate(),
    ),
    (
        "Restore",
        "A patron for whom none of these holds is made anew from the copy in the vault, by which the rules go, too.",
        Restore(),
    ),
)
_BEFORE_OR_AFTER = (
    (Reason.NOT_FOUND, "before the rules, when the patron is read"),
    (Reason.NOT_IN_RUN, "before the rules, when a patron is to be restored who was named"),
    (Reason.NOT_IN_VAULT, "before the rules, when a patron is to be restored"),
    (Reason.UNVERIFIABLE, "at any rule, when a field that it needs can't be read"),
    (Reason.ALMA_REFUSED, "at the delete"),
    (Reason.NOT_ATTEMPTED, "at the end of an institution run that was cancelled or rejected, or failed"),
    (
        Reason.UNCONFIRMED,
        "at a delete, or at a restore, without a clear answer; at the end of a run that a worker was lost in",
    ),
)


def rules_page() -> str:
    """The page as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Rules, reasons and guards"
    yield ""
    yield "This page is made from the code by `make rules` (`python -m scripts.rules_page`); don't edit it by hand."
    yield ""
    yield "Every candidate of a run ends with exactly one outcome. Rules are tried in the order given here, on a record"
    yield "that was read right before; the first that holds gives the reason. A rule that can't be checked makes the"
    yield "patron `unverifiable`, and nobody is changed. Codes stand as they do in results, reports and logs."
    for title, otherwise, policy in _ACTIONS:
        yield from _action(title, otherwise, policy)
    yield from _reasons_that_are_no_rules()
    yield from _cautions()
    yield from _outcomes()
    yield from _guards()


def _action(title: str, otherwise: str, policy: ActionPolicy) -> Iterator[str]:
    rules = rules_for(policy)
    yield ""
    yield f"## {title}"
    yield ""
    yield otherwise
    yield ""
    yield from _table(
        ("", "reason", "outcome", "what it means", "what staff can do", "policy (default)"),
        (
            (
                str(number),
                f"`{rule.reason}`",
                rule.reason.explanation.outcome,
                rule.reason.explanation.meaning,
                rule.reason.explanation.remedy,
                "<br>".join(_setting(policy, key) for key in rule.settings),
            )
            for number, rule in enumerate(rules, 1)
        ),
    )
    counted = [f"`{rule.reason}`" for rule in rules if rule.by_date_or_status]
    if not counted:
        return
    yield ""
    yield f"A sweep over all users only counts as seen whom one of these keeps: {', '.join(counted)}."
    yield "All others are its candidates. Of a set, every member is a candidate."


def _reasons_that_are_no_rules() -> Iterator[str]:
    yield ""
    yield "## Reasons that are no rules"
    yield ""
    rows: list[tuple[str, str, Explanation]] = [(reason, when, reason.explanation) for reason, when in _BEFORE_OR_AFTER]
    rows.append(("alma_<code>", "at the change, with Alma's code", ALMA_ERROR))
    yield from _table(
        ("reason", "when", "outcome", "what it means", "what staff can do"),
        ((f"`{reason}`", when, told.outcome, told.meaning, told.remedy) for reason, when, told in rows),
    )


def _cautions() -> Iterator[str]:
    yield ""
    yield "## Cautions"
    yield ""
    yield "What a person has to know of a patron who was changed, or would be. The detail of the outcome begins so."
    yield ""
    yield from _table(
        ("caution", "what it means", "what staff can do"),
        ((f"`{caution}`", caution.advice.meaning, caution.advice.remedy) for caution in Caution),
    )


def _outcomes() -> Iterator[str]:
    yield ""
    yield "## Outcomes"
    yield ""
    yield from _table(("outcome", "what it says"), ((f"`{outcome}`", outcome.meaning) for outcome in Outcome))
    yield ""
    yield "A detail with `recovered` in it says that Alma's answer, or the worker, was lost, and that the patron"
    yield "was then found changed."


def _guards() -> Iterator[str]:
    yield ""
    yield "## Guards"
    yield ""
    yield "Before its first change a real run compares its figures with these. When one trips, the institution run is"
    yield "`held`: nobody has been changed, and the figures are in its `hold_reasons`, each beginning with the guard's"
    yield f"name. A person approves or rejects it; after {HOLD_DAYS} days without an answer it is rejected by itself. A"
    yield "preview is never held; its `hold_reasons` say what would hold the real run."
    yield ""
    yield from _table(
        ("guard", "what trips it", "what to do", "policy (default)"),
        (
            (
                f"`{guard}`",
                guard.explanation.trips,
                guard.explanation.remedy,
                "<br>".join(_setting(Purge(select=_SWEEP), key) for key in guard.explanation.settings),
            )
            for guard in Guard
        ),
    )
    yield ""
    yield "An exclusion set that is missing or can't be read, and a selection that doesn't hold users, are no hold: the"
    yield "institution run fails, and nobody is changed."


def _setting(policy: ActionPolicy, key: str) -> str:
    """A key of the policy with its default, read from the model."""
    value: object = Protect() if key.startswith("protect.") else policy
    for part in key.removeprefix("protect.").split("."):
        value = getattr(value, part)
    match value:
        case bool():
            default = str(value).lower()
        case tuple():
            default = ", ".join(value) or "none"
        case _:
            default = str(value)
    return f"`{key}` ({default})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(rules_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
