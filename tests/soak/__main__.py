"""Soak the service: a consortium for months, or, with --rounds or --patrons, randomised rounds of one institution each.

Everything goes wrong now and then: Alma, AWS, workers that are killed, people who answer late or never. A judge inside
the simulated Alma sees each write. It ends with 1, and tells what was wrong with its seed, if anything was.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from rich import box
from rich.console import Console
from rich.table import Table

from tests.soak.consortium import Played, play_consortium
from tests.soak.mishaps import Kind
from tests.soak.rounds import Round, play

PART = 25  # institutions of a consortium; larger ones are played as several, side by side
# What comes first in the table, in sections; whatever else was counted is what went wrong.
_SECTIONS = (
    "institutions, months, rounds, runs, institution runs, slices, candidates, writes",
    "institution runs completed, institution runs failed, institution runs cancelled, institution runs rejected",
    "deactivated, purged, reinstated, restored, would_deactivate, would_purge, would_reinstate, would_restore",
    "skipped, blocked, failed, recovered, unconfirmed",
    "held, holds approved, holds rejected, holds cancelled, rejected by tidy, cancelled at work",
    "pauses, resumed by schedule, resumed by tidy",
)


def main() -> None:
    """Play what is asked for; exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--institutions", type=int, default=200, help=f"in consortia of {PART}, two or more at a time")
    parser.add_argument("--months", type=float, default=6, help="of 30.5 simulated days")
    parser.add_argument("--seed", type=int, default=1, help="of the first consortium or round; the others follow")
    parser.add_argument("--patrons", type=int, help="play rounds until at least so many were judged")
    parser.add_argument("--rounds", type=int, help="play so many rounds at most")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args()
    progress = Console(stderr=True, quiet=asked.json)
    began, total, wrongs = time.monotonic(), Counter[str](), list[str]()
    plays_rounds = asked.patrons is not None or asked.rounds is not None
    for one in _rounds(asked) if plays_rounds else _consortia(asked):
        total.update(one.figures)
        for wrong in one.wrongs:
            total[wrong.kind] += 1
            wrongs.append(f"seed {one.seed}: {wrong.kind}: {wrong.what}")
        progress.print(f"{total['judged']:,} judged, {len(wrongs)} wrong", end="\r", highlight=False)
    total.update(dict.fromkeys(Kind, 0))
    if asked.json:
        sys.stdout.write(json.dumps(total))
    else:
        if not plays_rounds:
            total["months"] = asked.months
        _show(total, f"{time.monotonic() - began:.0f} seconds, from seed {asked.seed} on")
    sys.exit("\n".join(wrongs[:50]) if wrongs else 0)


def _consortia(asked: argparse.Namespace) -> Iterator[Played]:
    """The consortia, as each of them ends."""
    sizes = [min(PART, asked.institutions - done) for done in range(0, asked.institutions, PART)]
    with ProcessPoolExecutor() as processes:
        seeds, months = range(asked.seed, asked.seed + len(sizes)), [asked.months] * len(sizes)
        yield from processes.map(play_consortium, seeds, sizes, months)


def _rounds(asked: argparse.Namespace) -> Iterator[Round]:
    """The rounds, until there are enough."""
    end = asked.seed + (10**9 if asked.rounds is None else asked.rounds)
    judged, seed = 0, asked.seed
    with ProcessPoolExecutor() as processes:
        while seed < end and judged < (10**9 if asked.patrons is None else asked.patrons):
            batch = range(seed, min(seed + 16 * (os.cpu_count() or 1), end))
            for one in processes.map(play, batch):
                one.figures["rounds"] += 1
                judged += one.figures["judged"]
                yield one
            seed = batch.stop


def _show(total: Counter[str], title: str) -> None:
    sections = [["judged", *Kind], *(section.split(", ") for section in _SECTIONS)]
    sections.append(sorted(set(total) - {name for section in sections for name in section}))
    table = Table(box=box.MARKDOWN, title=title)
    table.add_column("what")
    table.add_column("how many", justify="right")
    for name in (name for section in sections for name in section if name in total):
        table.add_row(str(name), f"{total[name]:,}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
