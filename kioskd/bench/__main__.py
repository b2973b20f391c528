"""`scripts/bench`, after everything is installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kioskd.bench import report
from kioskd.bench.lab import BrokenError, Lab
from kioskd.bench.rows import MEASURES, NAMES
from kioskd.bench.targets import Row

ROUNDS = 5


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of scripts/bench."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="What the kiosk costs, beside what others need for the same work."
    )
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--rows", metavar="A,B", help=f"only these rows: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of each measurement ({ROUNDS})")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is unmet, or could not be measured")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="write there what the kiosk spends its time on")
    options = parser.parse_args(arguments)
    options.rows = set(options.rows.split(",")) if options.rows else set(NAMES)
    if unknown := options.rows - set(NAMES):
        parser.error(f"--rows: there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if options.rounds < 1:
        parser.error("--rounds: at least one")
    return options


def main() -> int:
    """0, unless something broke (2) or `--strict` finds a target unmet (1)."""
    options = parse()
    if options.profile is not None:
        options.profile.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    try:
        with Lab(options.profile) as lab:
            for names, measure in MEASURES.values():
                if options.rows.isdisjoint(names):
                    continue
                print(f"measuring {', '.join(names)} ...", file=sys.stderr)
                rows += [row for row in measure(lab, options.rounds) if row.name.partition(" ")[0] in options.rows]
    except BrokenError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    print(report.as_json(rows) if options.json else report.as_text(rows))
    unmet = [row for row in rows if row.met is not True]
    return 1 if options.strict and unmet else 0


if __name__ == "__main__":
    sys.exit(main())
