"""Tests of the table of outcomes, reasons and cautions."""

import pytest

from patron_lifecycle.policy.reasons import Caution, cautions_in

AGAIN = "deactivated_again: brought back on 2026-10-12; the expiry date was still 2026-05-31"


@pytest.mark.parametrize(
    ("detail", "found"),
    [
        ("", []),
        ("expired 2024-05-01, INACTIVE since 2024-05-10, STUDENT", []),
        ("expiry_past: expired on 2024-05-01", [Caution.EXPIRY_PAST]),
        (
            "expiry_past: expired on 2024-05-01; internal_account: with external identifiers; expired 2024-05-01",
            [Caution.EXPIRY_PAST, Caution.INTERNAL_ACCOUNT],
        ),
        (f"{AGAIN}; recovered: done before the worker was lost", [Caution.DEACTIVATED_AGAIN]),
        ("left_out: a; left_out: b; stored_differs: status ACTIVE, not INACTIVE", ["left_out", "stored_differs"]),
        ("recovered: left_out: address", []),
        ("Alma said\nleft_out: address", []),
        ("LEFT_OUT: address; not_left_out: address; left_out:address; left_out", []),
        ("owes 12.50;left_out: address", []),
    ],
)
def test_a_caution_counts_only_where_a_detail_has_its_code(detail: str, found: list[Caution]) -> None:
    """At the start or after a semicolon, the whole code with its colon; each once, in the order of the detail."""
    assert cautions_in(detail) == found


@pytest.mark.parametrize("caution", list(Caution))
def test_what_a_caution_writes_is_read_again(caution: Caution) -> None:
    """Each caution is found in the text that it makes for a detail."""
    assert cautions_in(caution.about("with external identifiers")) == [caution]
