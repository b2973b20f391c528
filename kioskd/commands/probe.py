"""kioskd probe: what each endpoint and transport is worth from here, measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kioskd.commands import exits, options

if TYPE_CHECKING:
    from kioskd.config.schema import Endpoint, Settings
    from kioskd.probe.askers import Question

QUESTION = "What are your opening hours?"
TURNS_MAX, AT_ONCE_MAX = 100, 50
LONGEST_QUESTION_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[ENDPOINT...], --json, --turns, --at-once, --handshake, --discover, --question, --wav, --config."""
    parser.add_argument("endpoints", nargs="*", metavar="ENDPOINT", help="their names in the settings (all)")
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="ask each way N times (5)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="and then N at once, each as often (1: no)")
    parser.add_argument("--handshake", action="store_true", help="only connect: name, TCP, TLS, upgrade; costs nothing")
    parser.add_argument("--discover", metavar="HOST", help="which paths and dialects this host answers; costs nothing")
    parser.add_argument("--question", default=QUESTION, metavar="TEXT", help=f"what is asked ({QUESTION})")
    parser.add_argument("--wav", type=Path, metavar="F", help="the same, spoken (espeak-ng speaks it)")
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 if everything that is in the settings (and was named) answered."""
    from kioskd.config.load import SettingsError, load

    if not 1 <= arguments.turns <= TURNS_MAX or not 1 <= arguments.at_once <= AT_ONCE_MAX:
        return exits.complain(f"--turns is 1 to {TURNS_MAX}, --at-once 1 to {AT_ONCE_MAX}", exits.USAGE)
    if not arguments.question.strip():
        return exits.complain("--question is empty", exits.USAGE)
    try:
        settings = load(arguments.config)
        chosen = [options.choose_endpoint(settings, name) for name in dict.fromkeys(arguments.endpoints)]
    except SettingsError as error:
        return exits.complain(error, exits.BAD_SETTINGS)
    except LookupError as error:
        return exits.complain(str(error.args[0]).removeprefix("--endpoint "), exits.USAGE)
    try:
        import h11  # noqa: F401
        import httpx  # noqa: F401
        import httpx_sse  # noqa: F401
    except ImportError as error:
        return exits.complain(f"a package is missing ({error.name}); install kioskd[http]", exits.FAILED)
    if arguments.discover:
        return _discover(arguments, chosen or settings.endpoints)
    return _measure(arguments, settings, chosen or settings.endpoints)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measure(arguments: argparse.Namespace, settings: Settings, endpoints: Sequence[Endpoint]) -> int:
    import logging
    from functools import partial

    import trio

    from kioskd.probe import page
    from kioskd.probe.advice import advise
    from kioskd.probe.measure import Plan, bill, measure
    from kioskd.stored_key import find_key

    logging.getLogger("kioskd").setLevel(logging.ERROR)  # what they would warn of stands in the table
    plan = Plan(arguments.turns, arguments.at_once, arguments.handshake)
    question = _question(arguments, settings, endpoints)
    if isinstance(question, str):
        return exits.complain(question, exits.FAILED)
    most, currency = bill(endpoints, question, plan), settings.spend.currency
    if not plan.handshake_only:
        _tell(page.bill_text(most.questions, most.cost, most.unpriced, currency))
    results = trio.run(partial(measure, endpoints, question, plan, find_key, _tell))
    advice = None if plan.handshake_only else advise(results, currency)
    at_most: dict[str, Any] = {
        "questions": most.questions,
        "cost": most.cost / 1e9,
        "unpriced": list(most.unpriced),
    }
    text = page.as_json(results, advice, currency, question.text, at_most)
    print(text if arguments.json else page.table(results, advice, currency))
    own = [way for result in results for way in result.ways if way.configured]
    good = all(not way.absent and not any(series.failed for series in way.series) for way in own)
    return exits.OK if good else exits.FAILED


def _question(arguments: argparse.Namespace, settings: Settings, endpoints: Sequence[Endpoint]) -> Question | str:
    """The question, spoken if anybody is to hear it; or why there is none."""
    from kioskd.config.schema import EndpointKind
    from kioskd.probe.askers import Question

    text = " ".join(arguments.question.split())
    found = Question(text, settings.conversation)
    hears = any(each.kind not in (EndpointKind.CHAT, EndpointKind.RESPONSES) for each in endpoints)
    if not hears or arguments.handshake:
        return found
    import trio
    from attrs import evolve

    if arguments.wav:
        from kioskd.audio.wav import WavError, read_wav

        try:
            return evolve(found, pcm=read_wav(arguments.wav, LONGEST_QUESTION_S))
        except WavError as error:
            return str(error)
    from kioskd.local.speak import SpeechError, synthesise

    try:
        return evolve(found, pcm=trio.run(synthesise, text, settings.conversation.language or "en"))
    except SpeechError as error:
        return evolve(found, trouble=f"{error}; or give the question by --wav")


def _discover(arguments: argparse.Namespace, endpoints: Sequence[Endpoint]) -> int:
    import logging
    from functools import partial

    import trio

    from kioskd.endpoints.text.model import ModelError
    from kioskd.probe import doors_page
    from kioskd.probe.discover import HostError, discover, host_settings
    from kioskd.stored_key import find_key

    logging.getLogger("kioskd").setLevel(logging.ERROR)
    try:
        host, is_ours = host_settings(arguments.discover, endpoints)
        key = find_key(host) if is_ours else ""
        found = trio.run(partial(discover, host, key, tell=_tell))
    except HostError as error:
        return exits.complain(error, exits.USAGE)
    except (ModelError, OSError, ValueError) as error:
        return exits.complain(error, exits.FAILED)
    make = doors_page.as_json if arguments.json else doors_page.table
    print(make(host.url, found, is_ours))
    return exits.OK
