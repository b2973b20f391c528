"""What happened when: the demonstration's record, in ms since its start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event
from kioskd.health.turns import TurnReport, TurnWatch
from kioskd.panel.lamp import Light


@define
class Timeline:
    """An observer of the daemon and of the lamp. `reports`: the turns that are over."""

    began: float = field(factory=trio.current_time)
    marks: list[dict[str, Any]] = field(factory=list)
    reports: list[TurnReport] = field(factory=list)
    _lit: bool | None = None
    _watch: TurnWatch = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._watch = TurnWatch(self._turn_over)

    def mark(self, kind: str, **what: Any) -> None:
        """Put one line into the record."""
        self.marks.append({"t_ms": round((trio.current_time() - self.began) * 1000, 1), "kind": kind, **what})

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect of the daemon."""
        match what:
            case e.Pressed():
                self.mark("button", action="pressed")
            case e.Released():
                self.mark("button", action="released")
            case f.Show(view):
                self.mark(
                    "state",
                    state=view.state.value,
                    link=view.link.value,
                    faults=sorted(fault.value for fault in view.faults),
                    sign=view.sign.value if view.sign else None,
                )
            case e.Transcript(turn, speaker, text):
                self.mark("transcript", turn=turn, speaker=speaker.value, text=text)
            case f.Interrupt(turn, heard_ms):
                self.mark("interrupt", turn=turn, heard_ms=heard_ms)
        self._watch(what, now)

    def on_light(self, light: Light) -> None:
        """See the lamp; only its rhythm is kept, not each step of a fade."""
        if light.lit != self._lit:
            self._lit = light.lit
            self.mark("lamp", lit=light.lit)

    def close(self, path: Path | None = None) -> None:
        """The end; write the record as a JSON list."""
        self._watch.close()
        if path is not None:
            path.write_text("[\n" + ",\n".join(json.dumps(mark) for mark in self.marks) + "\n]\n")

    def _turn_over(self, report: TurnReport) -> None:
        self.reports.append(report)
        self.mark(
            "latency",
            turn=report.turn,
            release_to_asked_ms=report.asked_ms,
            release_to_answer_ms=report.answered_ms,
            release_to_sound_ms=report.sounded_ms,
            heard_ms=report.heard_ms,
        )
