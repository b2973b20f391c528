"""`scripts/demo`, after everything is installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import trio

from kioskd import log
from kioskd.config.schema import LogLevel
from kioskd.demo import headless, terminal
from kioskd.local.faq import FaqError
from kioskd.local.hear import RecogniserError
from kioskd.local.speak import SpeechError
from kioskd.simulator.pulse import PulseError
from kioskd.simulator.settings import SimulatorError
from kioskd.supervision import innermost

TROUBLES = (PulseError, SpeechError, RecogniserError, FaqError, SimulatorError, headless.StuckError)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of scripts/demo."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="A kiosk and its endpoint on this machine.")
    parser.add_argument("--headless", action="store_true", help="a scripted visitor instead of a terminal")
    parser.add_argument("--out", type=Path, metavar="DIR", help="with --headless: where recordings and timeline go")
    parser.add_argument(
        "--question", action="append", nargs="+", metavar="TEXT", help="with --headless: ask this (may be repeated)"
    )
    options = parser.parse_args(arguments)
    if options.headless and options.out is None:
        parser.error("--headless needs --out DIR")
    if not options.headless and not terminal.is_terminal():
        parser.error("this is no terminal: use --headless --out DIR")
    return options


def main() -> int:
    """0 if the demonstration went as it should."""
    options = parse()
    log.set_up(LogLevel.WARNING)
    try:
        if options.headless:
            questions = [text for texts in options.question or [headless.QUESTIONS] for text in texts]
            return trio.run(headless.run, options.out, questions)
        return trio.run(terminal.run)
    except* TROUBLES as group:
        print(f"scripts/demo: {innermost(group)}", file=sys.stderr)
    except* KeyboardInterrupt:
        pass
    return 1


if __name__ == "__main__":
    sys.exit(main())
