"""Play rounds until enough patrons were judged: `python -m tests.soak --help`."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from rich import box
from rich.console import Console
from rich.table import Table

from tests.soak.rounds import play


def main() -> None:
    """Play rounds until enough patrons were judged; exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patrons", type=int, default=1_000_000, help="how many are to be judged at least")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the others follow")
    parser.add_argument("--rounds", type=int, default=10**9, help="at most so many")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args()
    progress = Console(stderr=True, quiet=asked.json)
    began, seed, total, wrongs = time.monotonic(), asked.seed, Counter[str](), list[str]()
    with ProcessPoolExecutor() as processes:
        while total["judged"] < asked.patrons and seed < asked.seed + asked.rounds:
            batch = range(seed, min(seed + 16 * (os.cpu_count() or 1), asked.seed + asked.rounds))
            for one in processes.map(play, batch):
                total.update(one.figures)
                total["rounds"] += 1
                wrongs += [f"seed {one.seed}: {wrong.kind}: {wrong.what}" for wrong in one.wrongs]
            seed = batch.stop
            progress.print(f"{total['judged']:,} judged, {len(wrongs)} wrong", end="\r", highlight=False)
    if asked.json:
        sys.stdout.write(json.dumps({**total, "wrong": len(wrongs)}))
        sys.exit("\n".join(wrongs[:50]) if wrongs else 0)
    table = Table(box=box.SIMPLE_HEAD, title=f"{time.monotonic() - began:.0f} s, seeds {asked.seed} to {seed - 1}")
    table.add_column("")
    table.add_column("", justify="right")
    for name, count in (*sorted(total.items()), ("wrong", len(wrongs))):
        table.add_row(name, f"{count:,}")
    Console(width=100).print(table)
    sys.exit("\n".join(wrongs[:50]) if wrongs else 0)


if __name__ == "__main__":
    main()
