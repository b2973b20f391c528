"""A scripted visitor: speaks into the virtual microphone while holding the virtual button, and barges in once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import trio
from attrs import define, field

from kioskd.audio.wav import read_wav, write_wav
from kioskd.composition import build_daemon
from kioskd.daemon import Daemon
from kioskd.demo.stage import Stage, set_stage
from kioskd.demo.timeline import Timeline
from kioskd.demo.verdict import was_heard
from kioskd.dialogue import effects as f
from kioskd.dialogue.effects import Effect, State
from kioskd.dialogue.events import Event, Link, StopRequested
from kioskd.health.turns import TurnReport
from kioskd.local.speak import synthesise

QUESTIONS = ("tell me a story", "what are your opening hours")
BARGE_IN_AFTER_S = 2.5  # of the first answer: long enough to be recognised in the speaker's record
BEFORE_SPEAKING_S = 0.3  # a visitor presses, then speaks
AFTER_SPEAKING_S = 0.2
LONGEST_RECORD_S = 3600.0  # a demonstration of many questions
PATIENCE_S = 60.0  # for any one thing to happen: start-up, an answer, its end


class StuckError(Exception):
    """The kiosk did not do what the script waits for; one line."""


@define
class Visitor:
    """Knows nothing but the kiosk's lamp (the states it shows) and the clock."""

    daemon: Daemon
    stage: Stage
    _changed: trio.Event = field(factory=trio.Event)

    def __call__(self, what: Event | Effect, now: float) -> None:
        """An observer of the daemon."""
        if isinstance(what, f.Show):
            self._changed.set()

    async def until(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait until the kiosk is there. Raises StuckError, saying where it is instead."""
        with trio.move_on_after(PATIENCE_S):
            while not reached():
                self._changed = trio.Event()
                await self._changed.wait()
            return
        raise StuckError(f"the kiosk did not come to {what} within {PATIENCE_S:.0f} s; it shows {self.daemon.view}")

    async def ask(self, question: Path) -> None:
        """Hold the button and say it."""
        board, pulse = self.stage.board, self.stage.pulse
        assert board is not None and pulse is not None
        board.press()
        await trio.sleep(BEFORE_SPEAKING_S)
        voice = pulse.speak(question)
        await trio.to_thread.run_sync(voice.wait)
        await trio.sleep(AFTER_SPEAKING_S)
        board.release()

    async def converse(self, questions: Sequence[Path]) -> None:
        """Ask one after the other; the second breaks into the first one's answer."""
        await self.until("being ready", lambda: self._ready and self.daemon.view.link is Link.UP)
        for number, question in enumerate(questions, start=1):
            await self.ask(question)
            await self.until("listening to the question", lambda: self._state is not State.LISTENING)
            await self.until("an answer", lambda: self._state is State.SPEAKING or self._ready)
            if number == 1 and len(questions) > 1 and self._state is State.SPEAKING:
                await trio.sleep(BARGE_IN_AFTER_S)
            else:
                await self.until("the end of its answer", lambda: self._ready)
        self.daemon.post(StopRequested())

    @property
    def _state(self) -> State:
        return self.daemon.view.state

    @property
    def _ready(self) -> bool:
        return self._state is State.READY


async def run(out: Path, texts: Sequence[str]) -> int:
    """The whole demonstration; 0 only if every question was understood and its answer heard on the speaker."""
    out.mkdir(parents=True, exist_ok=True)
    questions = []
    for number, text in enumerate(texts, start=1):
        questions.append(out / f"question-{number}.wav")
        write_wav(questions[-1], await synthesise(text))
    timeline = Timeline()
    async with set_stage(only_virtual=True, record=out) as stage:
        assert stage.pulse is not None
        raw = out / "speaker.raw"
        recorder = stage.pulse.listen(raw)
        try:
            await _play(stage, timeline, questions)
        finally:
            stage.pulse.hush(recorder)
            timeline.close(out / "timeline.json")
            if raw.exists():
                write_wav(out / "speaker.wav", raw.read_bytes())
                raw.unlink()
    return _judge(out, texts, timeline)


async def _play(stage: Stage, timeline: Timeline, questions: Sequence[Path]) -> None:
    daemon = build_daemon(stage.settings, timeline.on_light)
    visitor = Visitor(daemon, stage)
    daemon.observe(timeline)
    daemon.observe(visitor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visitor.converse, questions)
        await daemon.run()
        nursery.cancel_scope.cancel()


def _judge(out: Path, texts: Sequence[str], timeline: Timeline) -> int:
    speaker = read_wav(out / "speaker.wav", LONGEST_RECORD_S)
    understood = _understood(out / "events.jsonl")
    good = True
    for number, text in enumerate(texts, start=1):
        report = next((report for report in timeline.reports if report.turn == number), TurnReport(number))
        sent = out / f"sent-{number}.wav"
        heard = sent.exists() and was_heard(read_wav(sent, LONGEST_RECORD_S), report.heard_ms or 0, speaker)
        good = good and heard and number in understood
        print(f"question {number}: {text}")
        print(f"  understood: {report.question if number in understood else 'NOT UNDERSTOOD'}")
        print(f"  answer:     {report.answer or report.reason or '(cut off before its text was whole)'}")
        print(
            f"  heard:      {'yes' if heard else 'NO'}, {report.heard_ms or 0} ms"
            + " until interrupted" * report.interrupted
        )
    print(f"files in {out}", file=sys.stderr)
    return 0 if good else 1


def _understood(events: Path) -> set[int]:
    """The numbers of the questions that the endpoint understood, by its own record."""
    lines = map(json.loads, events.read_text().splitlines()) if events.exists() else ()
    return {line["turn"] for line in lines if line["kind"] == "heard" and line["understood"]}
