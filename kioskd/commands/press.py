"""kioskd press: a press of the running kiosk's button, from afar."""

from __future__ import annotations

import argparse
from typing import Any

from kioskd.commands import exits, options

DEFAULT_MS = 2000
PATIENCE_S = 1200.0  # kioskd gives up before: the longest utterance and the longest answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--ms, --interrupt, --socket."""
    parser.add_argument(
        "--ms",
        type=int,
        default=DEFAULT_MS,
        metavar="N",
        help="hold it so long (2000; conversation.max_utterance_s at most)",
    )
    parser.add_argument("--interrupt", action="store_true", help="also break into an answer")
    options.add_socket(parser)


def run(arguments: argparse.Namespace) -> int:
    """Wait until the turn is over."""
    from kioskd.control.client import ControlError, ask

    try:
        turn = ask(arguments.socket, "press", timeout_s=PATIENCE_S, ms=arguments.ms, interrupt=arguments.interrupt)
    except ControlError as error:
        return exits.complain(error, exits.FAILED)
    except KeyboardInterrupt:  # kioskd lets go of the button as soon as we are gone
        return exits.INTERRUPTED
    _print(turn)
    return exits.OK if turn["outcome"] == "answered" else exits.FAILED


def _print(turn: dict[str, Any]) -> None:
    reason = f" ({turn['reason']})" if turn["reason"] else ""
    print(f"turn {turn['turn']}:".ljust(10) + f"{turn['outcome']}{reason}")
    for who in ("visitor", "kiosk"):
        if who in turn:
            print(f"{who}:".ljust(10) + (turn[who] or "(no transcript)"))
    times = {
        "utterance": turn["utterance_ms"],
        "release to asked": turn["asked_ms"],
        "to first answer": turn["answered_ms"],
        "to first sound": turn["sounded_ms"],
        "heard": turn["heard_ms"],
    }
    print("times:".ljust(10) + (", ".join(f"{name} {ms} ms" for name, ms in times.items() if ms is not None) or "none"))
    if turn["tokens"] is not None:
        print("tokens:".ljust(10) + str(turn["tokens"]))
