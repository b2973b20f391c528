"""kioskd talk QUESTION.wav: one push-to-talk turn, without sound card and button."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kioskd.commands import exits, options

if TYPE_CHECKING:
    from kioskd.talk import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """QUESTION.wav, --out, --config, --endpoint."""
    parser.add_argument("question", type=Path, metavar="QUESTION.wav", help="what the visitor says, any WAV")
    parser.add_argument("--out", type=Path, metavar="ANSWER.wav", help="write what the speaker played")
    parser.add_argument("--endpoint", metavar="NAME", help="which endpoint of the settings (the first)")
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, print what came of it."""
    from kioskd.config.load import SettingsError, load

    try:
        settings = load(arguments.config)
        endpoint = options.choose_endpoint(settings, arguments.endpoint)
    except SettingsError as error:
        return exits.complain(error, exits.BAD_SETTINGS)
    except LookupError as error:
        return exits.complain(error.args[0], exits.USAGE)

    import trio

    from kioskd import log
    from kioskd.audio.wav import WavError, read_wav, write_wav
    from kioskd.talk import talk

    log.set_up(settings.log.level)
    try:
        question = read_wav(arguments.question, settings.conversation.max_utterance_s)
        outcome = trio.run(talk, settings, endpoint, question)
        if arguments.out:
            write_wav(arguments.out, outcome.pcm)
    except WavError as error:
        return exits.complain(error, exits.FAILED)
    _print(outcome)
    return exits.OK if outcome.answered else exits.complain(outcome.trouble, exits.FAILED)


def _print(outcome: Outcome) -> None:
    report = outcome.report
    if report is None:
        return
    print(f"you:      {report.question or '(no transcript)'}")
    print(f"kiosk:    {report.answer or '(no transcript)'}")
    times = {
        "connected": outcome.connected_ms,
        "release to asked": report.asked_ms,
        "to first answer": report.answered_ms,
        "to first sound": report.sounded_ms,
        "heard": report.heard_ms,
    }
    print("times:    " + ", ".join(f"{name} {ms} ms" for name, ms in times.items() if ms is not None))
    if report.usage:
        used = report.usage
        print(
            f"tokens:   {used.total} (in: {used.input_text} text, {used.input_audio} audio;"
            f" out: {used.output_text} text, {used.output_audio} audio)"
        )
