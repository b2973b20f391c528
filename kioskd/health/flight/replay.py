"""What a kept record says, step by step; and whether `Kiosk.step` would do the same again. PURE."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, evolve, field, frozen

from kioskd.dialogue.effects import View
from kioskd.dialogue.events import Event
from kioskd.dialogue.kiosk import Kiosk
from kioskd.health.flight.codec import EVENTS, CodecError, dump, load
from kioskd.health.flight.memory import dump_memory, load_kiosk

Json = dict[str, Any]


@frozen
class Step:
    """An event and what was done about it; or, without an event, a `remark` between them.

    `wall` is in seconds of the wall clock; None before the first checkpoint. Once replayed, `view` is what the kiosk
    then shows (None where nothing can be replayed), and `differences` are lines; `due` are the effects that it gave.
    """

    at: float = 0.0
    wall: float | None = None
    event: Json | None = None
    effects: tuple[Json, ...] = ()
    remark: str = ""
    checkpoint: Json | None = None
    begins: bool = False  # a kiosk, with the next event
    broken: bool = False  # records are missing before it
    last: bool = False  # of its kiosk: the end may have come in the middle of it
    view: View | None = None
    due: tuple[Json, ...] = ()
    differences: tuple[str, ...] = ()


def parse(lines: Iterable[str]) -> Iterator[Step]:
    """The steps of a record. What can't be read is a remark, and a gap."""
    reader, held = _Reader(), None
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        for step in reader.take(record if isinstance(record, dict) else {"unreadable": line[:60]}):
            if held is not None:
                yield evolve(held, last=step.begins or step.broken)
            held = step
    for step in reader.end():
        if held is not None:
            yield held
        held = step
    if held is not None:
        yield evolve(held, last=True)


def replay(steps: Iterable[Step]) -> Iterator[Step]:
    """The same steps, each with what a kiosk of this version does about its event."""
    kiosk: Kiosk | None = None
    for step in steps:
        differences: list[str] = []
        if step.broken:
            kiosk = None
        if step.checkpoint is not None:
            kiosk = _at_checkpoint(kiosk, step.checkpoint, differences)
        if step.event is None or kiosk is None:
            yield evolve(step, differences=tuple(differences))
            continue
        due: list[Json] = []
        try:
            due = [dump(effect) for effect in kiosk.step(_event(step.event), step.at)]
            differences += _compare(step, due)
        except CodecError as error:
            differences.append(f"can't be replayed: {error}")
            kiosk = None
        view = kiosk.view if kiosk else None
        yield evolve(step, view=view, due=tuple(due), differences=tuple(differences))


@define
class _Reader:
    """Puts the lines of a step together."""

    step: Step | None = None
    wall_ahead: float | None = None  # of the kiosk's clock
    broken: bool = False
    checkpoint: Json | None = None
    effects: list[Json] = field(factory=list)

    def take(self, record: Json) -> Iterator[Step]:
        """The steps that are whole now."""
        match record:
            case {"effect": str()} if self.step is not None:
                self.effects.append(record)
                return
            case {"event": str(), "at": float() | int() as at}:
                yield from self.end()
                wall = None if self.wall_ahead is None else at + self.wall_ahead
                self.step = Step(at, wall, record, checkpoint=self.checkpoint, broken=self.broken)
                self.broken, self.checkpoint = False, None
            case {"checkpoint": {"wall": float() | int() as wall} as checkpoint, "at": float() | int() as at}:
                yield from self.end()
                self.wall_ahead, self.checkpoint = wall - at, checkpoint
                if checkpoint.get("begins"):
                    words = f"a kiosk begins: kioskd {checkpoint.get('version')}"
                    yield Step(at, wall, remark=words, begins=True, broken=self.broken)
                    self.broken = False
            case {"flight": int(), "reason": str(reason), "version": version, "wall": float() | int() as wall}:
                yield from self.end()
                yield Step(wall=wall, remark=f"recorded by kioskd {version}: {reason}")
            case {"note": str(words)}:
                yield from self.end()
                wall = record.get("wall")
                yield Step(wall=wall if isinstance(wall, float) else None, remark=words)
            case {"gap": int(missing)}:
                yield from self.end()
                self.broken, self.checkpoint = True, None  # what came after it may be missing
                yield Step(remark=f"{missing} records are missing", broken=True)
            case _:
                yield from self.end()
                self.broken, self.checkpoint = True, None
                yield Step(remark=f"unreadable: {json.dumps(record):.80}", broken=True)

    def end(self) -> Iterator[Step]:
        """The step under way, if any, is whole."""
        if self.step is not None:
            yield evolve(self.step, effects=tuple(self.effects))
        self.step = None
        self.effects.clear()


def _event(record: Json) -> Event:
    event = load(record)
    if type(event).__name__ not in EVENTS:
        raise CodecError("no event")
    return event  # type: ignore[return-value]  # just looked at


def _at_checkpoint(kiosk: Kiosk | None, checkpoint: Json, differences: list[str]) -> Kiosk | None:
    """Where a kiosk begins, or can be taken up; else only a look whether it has come where it should have."""
    try:
        if kiosk is None or checkpoint.get("begins"):
            return load_kiosk(checkpoint.get("settings"), checkpoint.get("memory"))
    except CodecError as error:
        differences.append(f"can't be replayed: {error}")
        return None
    mine, recorded = dump_memory(*kiosk.memory), checkpoint.get("memory")
    if mine != recorded and isinstance(recorded, dict):
        for part, values in mine.items():
            was = recorded.get(part)
            if was != values:
                differences.append(
                    f"remembered in {part}: {_differing(was, values)}, replayed {_differing(values, was)}"
                )
    try:
        return load_kiosk(checkpoint.get("settings"), recorded)  # whose settings may be others
    except CodecError:
        return None


def _differing(these: Any, others: Any) -> str:
    if not isinstance(these, dict) or not isinstance(others, dict):
        return f"{these!r:.200}"
    return f"{ {name: value for name, value in these.items() if others.get(name) != value}!r:.200}"


def _compare(step: Step, due: list[Json]) -> list[str]:
    recorded = list(step.effects)
    if recorded == due or (step.last and recorded == due[: len(recorded)]):
        return []  # the end may have come before the last effects
    lines = []
    for index in range(max(len(recorded), len(due))):
        was = recorded[index] if index < len(recorded) else None
        now = due[index] if index < len(due) else None
        if was != now:
            lines.append(f"effect {index + 1}: recorded {_short(was)}, replayed {_short(now)}")
    return lines


def _short(record: Json | None) -> str:
    return "nothing" if record is None else words_of(record)


def words_of(record: Json) -> str:
    """An event or effect in a line: `Ask(turn=3)`, `Play(turn=3, 100 ms of sound)`."""
    name = record.get("event") or record.get("effect") or "?"
    parts = []
    for key, value in record.items():
        if key in ("event", "effect", "at"):
            continue
        if key == "pcm":
            parts.append(f"{value} bytes")
        elif key == "view" and isinstance(value, dict):
            parts += [str(value.get("state")), f"link {value.get('link')}"]
            parts += [f"fault {fault}" for fault in value.get("faults") or ()]
            parts += [f"sign {value['sign']}"] if value.get("sign") else []
        else:
            parts.append(f"{key}={json.dumps(value) if key in ('cause', 'reason') else value}")
    return f"{name}({', '.join(parts)})" if parts else str(name)
