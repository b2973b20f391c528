"""kioskd flight dump|list|show|replay: the flight recorder's records."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kioskd.commands import exits, options

if TYPE_CHECKING:
    from kioskd.health.flight.dumps import Dumps
    from kioskd.health.flight.replay import Step

_RECORD_HELP = "a record by its number or path (default: the newest)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """dump, list, show [FILE], replay [FILE]."""
    verbs = parser.add_subparsers(required=True, metavar="dump|list|show|replay", dest="verb")
    dump = verbs.add_parser("dump", help="keep the last 15 minutes now; prints the file")
    options.add_socket(dump)
    verbs.add_parser("list", help="the records that were kept, with reason and size")
    show = verbs.add_parser("show", help="what happened, a line an event")
    show.add_argument("file", nargs="?", metavar="FILE", help=_RECORD_HELP)
    replay = verbs.add_parser("replay", help="let the kiosk's rules decide again; 1 if anything differs")
    replay.add_argument("file", nargs="?", metavar="FILE", help=_RECORD_HELP)


def run(arguments: argparse.Namespace) -> int:
    """0 done; replay: 1 if something differs."""
    from kioskd.config.places import state_directory
    from kioskd.health.flight.dumps import DumpError, Dumps
    from kioskd.health.flight.recorder import DUMPS_NAME
    from kioskd.health.flight.ring import RingError

    dumps = Dumps(state_directory(os.environ) / DUMPS_NAME)
    try:
        match arguments.verb:
            case "dump":
                return _dump(dumps, arguments.socket)
            case "list":
                return _list(dumps)
            case "show":
                return _show(dumps.find(arguments.file))
            case _:
                return _replay(dumps.find(arguments.file))
    except (DumpError, RingError) as error:
        return exits.complain(f"kioskd flight: {error}{_remedy(error)}", exits.FAILED)


def _remedy(error: OSError) -> str:
    return "; use sudo" if "Permission denied" in str(error) else ""


def _dump(dumps: Dumps, socket: Path | None) -> int:
    """By the daemon; where none answers, out of what it left."""
    from kioskd.config.places import runtime_directory
    from kioskd.control.client import ControlError, ask
    from kioskd.health.flight.recorder import RING_NAME
    from kioskd.health.flight.ring import find, read

    try:
        print(ask(socket, "flight-dump", reason="asked for")["path"])
    except ControlError as error:
        print(f"({error}; this is what lies in the ring)", file=sys.stderr)
        print(dumps.keep(find(read(runtime_directory(os.environ) / RING_NAME)), "asked for"))
    return exits.OK


def _list(dumps: Dumps) -> int:
    kept = dumps.all()
    for dump in kept:
        print(f"{dump.number:>4}  {_when(dump.at)}  {dump.size / 1024:>6.0f} KiB  {dump.reason}")
    if not kept:
        print(f"no record was kept in {dumps.directory}; make one by: kioskd flight dump")
    return exits.OK


def _show(path: Path) -> int:
    from kioskd.health.flight.dumps import read_lines
    from kioskd.health.flight.replay import parse, words_of

    for steps in _runs(parse(read_lines(path))):
        step = steps[0]
        if step.event is None:
            print(f"{_clock(step)}  -- {step.remark}")
            continue
        print(f"{_clock(step)}  {words_of(step.event)}{_more(steps)}")
        for effect in step.effects:
            print(f"{'':12}    -> {words_of(effect)}")
    return exits.OK


def _replay(path: Path) -> int:
    from kioskd.health.flight.dumps import read_lines
    from kioskd.health.flight.replay import parse, replay, words_of
    from kioskd.panel.lamp import pattern_of

    replayed = differences = 0
    for steps in _runs(replay(parse(read_lines(path)))):
        step = steps[0]
        replayed += sum(each.view is not None for each in steps)
        differences += sum(len(each.differences) for each in steps)
        if step.event is None:
            print(f"{_clock(step)}  -- {step.remark}")
        else:
            state = f"{step.view.state.value:<9}  lamp: {pattern_of(step.view).name}" if step.view else "not replayed"
            print(f"{_clock(step)}  {words_of(step.event)}{_more(steps)}")
            print(f"{'':12}    => {state}")
            for effect in step.due:
                print(f"{'':12}    -> {words_of(effect)}")
        for difference in step.differences:
            print(f"{'':12}    !! {difference}")
    if not replayed:
        return exits.complain(f"{path}: there is nothing in it that can be replayed", exits.FAILED)
    print(f"{replayed} events replayed, {differences or 'no'} difference{'s' if differences > 1 else ''}")
    return exits.FAILED if differences else exits.OK


def _runs(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Pieces of an answer that follow one another are one line: they come dozens a second."""
    run: list[Step] = []
    for step in steps:
        if run and _shape(step) is not None and _shape(step) == _shape(run[0]):
            run.append(step)
        else:
            if run:
                yield run
            run = [step]
    if run:
        yield run


def _shape(step: Step) -> object:
    """What pieces of the same answer have in common; None for all else."""
    if step.event is None or step.event.get("event") != "AnswerAudio" or step.differences or step.broken:
        return None
    return step.event.get("turn"), [effect.get("effect") for effect in step.effects], step.view


def _more(steps: list[Step]) -> str:
    if len(steps) == 1:
        return ""
    ms = sum(float(step.event["duration_ms"]) for step in steps if step.event)
    return f" and {len(steps) - 1} more, {ms:.0f} ms in all"


def _clock(step: Step) -> str:
    from datetime import datetime

    if step.wall is None:
        return f"{'':12}"
    return datetime.fromtimestamp(step.wall).strftime("%H:%M:%S.%f")[:-3]


def _when(at: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(at).isoformat(sep=" ", timespec="seconds")
