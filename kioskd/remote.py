"""What the owner can ask of a running kiosk from afar: the verbs of the control socket, in terms of the daemon.

The control socket outlives the daemon: where settings are reloaded, a `Remote` is given the next one.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import trio

from kioskd import __version__
from kioskd.config import schema
from kioskd.config.secrets import mask_keys
from kioskd.config.versions import settings_version
from kioskd.control.protocol import Fields
from kioskd.control.server import Control, RefusedError, Send, Verb
from kioskd.daemon import Daemon
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, State
from kioskd.dialogue.events import Event
from kioskd.health.status import Chronicle, outcome
from kioskd.health.turns import TurnReport
from kioskd.snapshot import figures, snapshot, test_figures

log = logging.getLogger(__name__)

MAX_SAY_CHARACTERS = 1000  # a minute of speech; nobody in front of a kiosk listens longer
MAX_WAIT_S = 300.0
SPEECH_S = 40.0  # espeak-ng has its own deadline of 30 s
SOUND_TEST_S = 30.0  # it takes about three
TURN_S = 600.0  # the longest answer, heard to its end
DEFAULT_PRESS_MS = 2000
WATCH_S = (0.1, 60.0)  # seconds from one line of `watch` to the next, shortest and longest
MAX_WATCHERS = 4


class Remote:
    """Stands between the control socket and whichever daemon runs. It observes what it is attached to."""

    def __init__(self) -> None:
        self.figures: dict[str, Callable[[], Any]] = {}
        """What else `status` shows, by its name there."""
        self._chronicle = Chronicle(on_turn=self._turn_over)
        self._began = trio.current_time()
        self._daemon: Daemon | None = None
        self._settings: schema.Settings | None = None
        self._version = ""
        self._loaded_at = 0.0
        self._waiting: list[str] = []
        self._trouble = ""
        self._shown = trio.Event()  # replaced at each new view
        self._listeners: set[Callable[[TurnReport], None]] = set()
        self._seen: list[Event | Effect] | None = None  # what one event brought about, where that is looked for
        self._released = trio.Event()

    @property
    def chronicle(self) -> Chronicle:
        """What has happened since the start."""
        return self._chronicle

    def attach(self, daemon: Daemon, settings: schema.Settings) -> None:
        """From now on it is about this daemon, which runs by these settings."""
        self._chronicle.begin_again()
        self._daemon = daemon
        self.adopt(settings)
        daemon.observe(lambda what, now: self._see(daemon, what, now))

    def adopt(self, settings: schema.Settings, waiting: Sequence[str] = (), trouble: str = "") -> None:
        """It runs by these; `waiting` for a moment without a visitor are these keys. `trouble`: a reload's."""
        if self._settings is not settings or not self._version:
            self._settings, self._version = settings, settings_version(settings)
            self._loaded_at = trio.current_time()
        self._waiting, self._trouble = list(waiting), trouble

    def add_to(self, control: Control) -> None:
        """Let all of it be asked for."""
        turn = {"limit_s": MAX_WAIT_S + SPEECH_S + TURN_S, "at_once": 1, "for_client": True}
        control.add("status", Verb(self._status))
        control.add("watch", Verb(self._watch, limit_s=math.inf, at_once=MAX_WATCHERS, for_client=True))
        control.add("say", Verb(self._say, **turn))  # type: ignore[arg-type]
        control.add("press", Verb(self._press, **turn))  # type: ignore[arg-type]
        control.add("test-sound", Verb(self._test_sound, limit_s=SOUND_TEST_S, at_once=1))
        control.add("log-level", Verb(self._log_level))

    # The verbs

    async def _status(self, fields: Fields, send: Send) -> Fields:
        return self.status()

    async def _watch(self, fields: Fields, send: Send) -> Fields:
        interval_s = _number(fields, "interval_s", 1.0, *WATCH_S)
        while True:
            await send(self.status())
            await trio.sleep(interval_s)

    async def _say(self, fields: Fields, send: Send) -> Fields:
        from kioskd.local.speak import SpeechError, synthesise  # brings numpy and a resampler

        text = fields.get("text")
        if not isinstance(text, str) or not text.strip():
            raise RefusedError("there is nothing to say: give a text")
        if len(text) > MAX_SAY_CHARACTERS:
            raise RefusedError(f"the text has {len(text)} characters; {MAX_SAY_CHARACTERS} at most")
        wait_s = _number(fields, "wait_s", 30.0, 0.0, MAX_WAIT_S)
        try:
            pcm = await synthesise(text, self._now_running()[1].conversation.language or "en")
        except SpeechError as error:
            raise RefusedError(str(error)) from None
        if not pcm:
            raise RefusedError("nothing in this text can be spoken")
        await self._until_ready(wait_s)
        report = await self._turn(lambda: self._begin_saying(pcm))
        if report.heard_ms is None:
            why = report.reason or (report.sign.value if report.sign else "a visitor went first")
            raise RefusedError(f"it was not heard: {why}")
        return {"turn": report.turn, "heard_ms": report.heard_ms, "interrupted": report.interrupted}

    async def _press(self, fields: Fields, send: Send) -> Fields:
        settings = self._now_running()[1]
        longest_ms = int(settings.conversation.max_utterance_s * 1000)
        hold_ms = _number(fields, "ms", float(DEFAULT_PRESS_MS), 1.0, float(longest_ms))
        report = await self._turn(lambda: self._begin_press(fields.get("interrupt") is True), hold_ms / 1000)
        return {**figures(report), "outcome": outcome(report)} | (
            {"visitor": report.question, "kiosk": report.answer} if settings.log.transcripts else {}
        )

    async def _test_sound(self, fields: Fields, send: Send) -> Fields:
        from kioskd.audio.sound_test import SoundTestError  # brings numpy

        try:
            report = await self._now_running()[0].test_sound()
        except SoundTestError as error:
            raise RefusedError(str(error)) from None
        return test_figures(report)

    async def _log_level(self, fields: Fields, send: Send) -> Fields:
        names = [level.value for level in schema.LogLevel]
        level = fields.get("level")
        if level not in names:
            raise RefusedError(f"{level!r:.40} is no level of the log; these are: {', '.join(names)}")
        root = logging.getLogger()
        was = logging.getLevelName(root.level).lower()
        root.setLevel(str(level).upper())
        log.warning("log level %s instead of %s, until the next start", level, was)
        return {"level": level, "was": was}

    # How they are done

    def status(self) -> dict[str, Any]:
        """All that there is to be known, as JSON has it; no secrets, and nothing that was said."""
        daemon, settings = self._now_running()
        now = trio.current_time()
        return {
            "kioskd": __version__,
            "name": socket.gethostname(),
            "pid": os.getpid(),
            "uptime_s": round(now - self._began, 1),
            "settings": {
                "version": self._version,
                "loaded_s": round(now - self._loaded_at, 1),
                "waiting": self._waiting,
                "trouble": self._trouble,
            },
            "log_level": logging.getLevelName(logging.getLogger().level).lower(),
            **snapshot(daemon, settings, self._chronicle, now),
            **{name: figures() for name, figures in self.figures.items()},
        }

    def _now_running(self) -> tuple[Daemon, schema.Settings]:
        if self._daemon is None or self._settings is None:
            raise RefusedError("kioskd is only just starting; try again in a moment")
        return self._daemon, self._settings

    async def _until_ready(self, wait_s: float) -> None:
        """Nobody is talked over. Raises RefusedError."""
        with trio.move_on_after(wait_s):
            while self._now_running()[0].view.state is not State.READY:
                await self._shown.wait()
            return
        raise RefusedError(
            f"the kiosk is {self._now_running()[0].view.state.value}, also after {wait_s:.0f} s; try again later"
        )

    def _begin_saying(self, pcm: bytes) -> int:
        daemon, _ = self._now_running()
        turn = daemon.say(pcm)
        if turn is None:
            raise RefusedError(f"it can't be said now: {self._what_is_wrong(daemon)}")
        return turn

    def _begin_press(self, interrupt: bool) -> int:
        """The number of the turn that a press opens. Raises RefusedError, and then nothing is pressed any more."""
        daemon, _ = self._now_running()
        state = daemon.view.state
        if state is not State.READY and not (interrupt and state in (State.THINKING, State.SPEAKING)):
            raise RefusedError(f"the kiosk is {state.value}: somebody is using it; try again when it is ready")
        seen: list[Event | Effect] = []
        self._seen = seen
        daemon.post(e.Pressed())
        self._seen = None
        for what in seen:
            if isinstance(what, f.BeginUtterance):
                self._released = trio.Event()
                return what.turn
        if any(isinstance(what, f.GiveSign) for what in seen):
            daemon.post(e.Released())
            raise RefusedError(f"the press was not taken: {self._what_is_wrong(daemon)}")
        raise RefusedError("the press was not taken: the button is being held, or kioskd is stopping")

    async def _turn(self, begin: Callable[[], int], hold_s: float | None = None) -> TurnReport:
        """What came of the turn that `begin` opens, once it is over; `hold_s`: a button is held so long."""
        with self._reports() as reports:
            turn = begin()
            if hold_s is not None:
                await self._hold(hold_s)
            with trio.move_on_after(TURN_S):
                while turn not in reports:
                    await self._report_came.wait()
                return reports[turn]
        raise RefusedError(f"turn {turn} isn't over after {TURN_S:.0f} s")

    async def _hold(self, hold_s: float) -> None:
        daemon, _ = self._now_running()
        released = self._released
        try:
            with trio.move_on_after(hold_s):
                await released.wait()
        finally:
            if not released.is_set():  # else by the visitor's own finger, and what is held now is theirs
                daemon.post(e.Released())

    @contextmanager
    def _reports(self) -> Iterator[dict[int, TurnReport]]:
        """The turns that end meanwhile, by number."""
        reports: dict[int, TurnReport] = {}
        self._report_came = trio.Event()

        def hear(report: TurnReport) -> None:
            reports[report.turn] = report
            came, self._report_came = self._report_came, trio.Event()
            came.set()

        self._listeners.add(hear)
        try:
            yield reports
        finally:
            self._listeners.discard(hear)

    def _what_is_wrong(self, daemon: Daemon) -> str:
        faults = [self._chronicle.trouble(fault) for fault in self._chronicle.faults]
        if daemon.link.link is e.Link.REFUSED:
            faults.append(f"the endpoint {daemon.link.endpoint} refuses: {daemon.link.cause}")
        return mask_keys("; ".join(faults)) or f"the kiosk is {daemon.view.state.value}"

    def _see(self, daemon: Daemon, what: Event | Effect, now: float) -> None:
        if daemon is not self._daemon:  # one that was replaced, on its way out
            return
        self._chronicle(what, now)
        if self._seen is not None:
            self._seen.append(what)
        if isinstance(what, (e.Released, e.Tapped)):
            self._released.set()
        elif isinstance(what, f.Show):
            shown, self._shown = self._shown, trio.Event()
            shown.set()

    def _turn_over(self, report: TurnReport) -> None:
        for listener in list(self._listeners):
            listener(report)


def _number(fields: Fields, name: str, default: float, low: float, high: float) -> float:
    """A number of a request. Raises RefusedError where it is none, or out of bounds."""
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise RefusedError(f"{name} must be a number from {low:g} to {high:g}, and is {value!r:.40}")
    return float(value)
