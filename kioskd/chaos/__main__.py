"""`scripts/chaos`, after everything is installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kioskd.chaos import doors, real, report, virtual
from kioskd.chaos.sabotage import SABOTAGES, NoSuchSafeguardError, sabotaged

REAL_TURNS = 40  # of the second stage, which takes real time: most of a minute


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of scripts/chaos."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Whole turns under random faults.")
    parser.add_argument("--turns", type=int, default=500, metavar="N", help="presses of the first stage (500)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="what everything is drawn from (1)")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write the first stage's course of things")
    parser.add_argument("--flight", type=Path, metavar="DIR", help="records of that stage, for kioskd flight replay")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGES), help="switch a safeguard off: the run must find out")
    parser.add_argument("--no-faults", action="store_true", help="visitors alone, without any fault")
    parser.add_argument("--real-turns", type=int, metavar="N", help="presses of the second stage, over TCP and TLS")
    parser.add_argument(
        "--endpoint",
        choices=("realtime", *doors.DOORS, "all"),
        default="realtime",
        metavar="KIND",
        help=f"who answers: realtime, or over sockets and in real time {', '.join(doors.DOORS)}, or all of these",
    )
    options = parser.parse_args(arguments)
    if options.turns < 1:
        parser.error("--turns: at least one")
    if options.endpoint != "realtime":
        if options.sabotage or options.trace or options.flight:
            parser.error("--sabotage, --trace and --flight are for --endpoint realtime")
        if options.real_turns is None:
            options.real_turns = REAL_TURNS
    elif options.real_turns is None:  # a sabotage is for the first stage to find
        options.real_turns = 0 if options.sabotage else REAL_TURNS
    return options


def main() -> int:
    """0 if nobody was failed."""
    options = parse()
    faults = not options.no_faults
    if options.flight is not None:
        options.flight.mkdir(parents=True, exist_ok=True)
    try:
        with sabotaged(options.sabotage):
            if options.endpoint != "realtime":
                names = list(doors.DOORS) if options.endpoint == "all" else [options.endpoint]
                stages = {name: doors.run(name, options.real_turns, options.seed, faults=faults) for name in names}
            else:
                stages = {
                    "virtual time": virtual.run(options.turns, options.seed, faults=faults, flight=options.flight)
                }
            if options.real_turns and options.endpoint == "realtime":
                stages["TCP and TLS"] = real.run(options.real_turns, options.seed, faults=faults)
    except (NoSuchSafeguardError, real.NoCertificatesError) as error:
        print(f"scripts/chaos: {error}", file=sys.stderr)
        return 2
    if options.trace is not None:
        options.trace.write_text("\n".join(stages["virtual time"].trace) + "\n")
    if options.json:
        print(report.as_json(stages))
    else:
        print("\n".join(report.as_text(name, result) for name, result in stages.items()))
    return 0 if all(report.is_green(result) for result in stages.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
