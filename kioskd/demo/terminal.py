"""The demonstration on a terminal: the space bar is the button; lamp, levels and words are drawn as they change."""

from __future__ import annotations

import os
import sys
import tempfile
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import trio
from attrs import define, field

from kioskd.audio.wav import write_wav
from kioskd.composition import build_daemon
from kioskd.daemon import Daemon
from kioskd.demo.stage import Stage, set_stage
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event, Pressed, Released, StopRequested
from kioskd.local.speak import synthesise
from kioskd.panel.lamp import DARK, Light

DRAWINGS_PER_S = 10
FIRST_REPEAT_S = 0.7  # keyboards begin to repeat a held key after 0.25 to 0.66 s
NEXT_REPEAT_S = 0.2  # and go on at 10 to 30 a second; SSH adds some jitter
BAR_WIDTH = 40
SAMPLES = ("what are your opening hours", "where are the toilets", "are you a robot", "tell me a story")


@define
class SpaceBar:
    """Key strokes to presses. PURE. Held: pressed until it stops repeating. Tapped: pressed until the next tap."""

    down: bool = False
    _struck_at: float = 0.0
    _repeats: int = 0

    def strike(self, now: float) -> bool | None:
        """A stroke came: True is a press, False a release, None nothing new."""
        repeating = self.down and now - self._struck_at < self._patience
        self._struck_at = now
        if repeating:
            self._repeats += 1
            return None
        self.down = not self.down
        self._repeats = 0
        return self.down

    @property
    def let_go_at(self) -> float | None:
        """When a held bar counts as let go, if no stroke comes before."""
        return self._struck_at + NEXT_REPEAT_S if self.down and self._repeats else None

    def let_go(self) -> None:
        """The bar stopped repeating."""
        self.down = False

    @property
    def _patience(self) -> float:
        return NEXT_REPEAT_S if self._repeats else FIRST_REPEAT_S


@contextmanager
def keys_unbuffered() -> Iterator[int]:
    """Standard input key by key, without echo; as it was afterwards. Yields its file descriptor."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@define
class Screen:
    """What is drawn: one block of lines, over and over in the same place."""

    stage: Stage
    daemon: Daemon
    hint: str = ""
    light: Light = DARK
    said: dict[e.Speaker, str] = field(factory=dict)
    _drawn: str = ""

    def __call__(self, what: Event | Effect, now: float) -> None:
        """An observer of the daemon."""
        if isinstance(what, e.Transcript):
            self.said[what.speaker] = what.text

    def on_light(self, light: Light) -> None:
        """The lamp changed."""
        self.light = light

    async def draw_for_ever(self) -> None:
        """Draw what changed, until cancelled."""
        sys.stdout.write("\033[2J\033[?25l")
        try:
            while True:
                picture = "\033[H" + "\033[K\n".join(self.lines()) + "\033[K\n\033[J"
                if picture != self._drawn:
                    self._drawn = picture
                    sys.stdout.write(picture)
                    sys.stdout.flush()
                await trio.sleep(1 / DRAWINGS_PER_S)
        finally:
            sys.stdout.write("\033[?25h\n")
            sys.stdout.flush()

    def lines(self) -> list[str]:
        """The picture, 80 columns wide at most."""
        view = self.daemon.view
        red, green, blue = (int(255 * part) for part in (self.light.red, self.light.green, self.light.blue))
        bar = "█" * round(min(1.0, self.daemon.level * 4) * BAR_WIDTH)
        trouble = ", ".join(sorted(fault.value for fault in view.faults)) or "none"
        return [
            f"kioskd demo   sound: {'private PulseAudio' if self.stage.pulse else 'this machine'}   {self.stage.url}",
            "",
            f"  lamp   \033[48;2;{red};{green};{blue}m      \033[0m  {view.state.value}"
            + (f"  ({view.sign.value})" if view.sign else ""),
            f"  level  {bar:<{BAR_WIDTH}}",
            f"  link   {self.daemon.link.line(trio.current_time())[:71]}",
            f"  faults {trouble}",
            "",
            f"  you:   {self.said.get(e.Speaker.VISITOR, '')[:70]}",
            f"  kiosk: {self.said.get(e.Speaker.KIOSK, '')[:70]}",
            "",
            f"  {self.hint}",
            "  space: hold it (or tap, and tap again) to talk    q: leave",
        ]


@define
class Player:
    """Turns the space bar into the button, and speaks for a visitor who has no microphone."""

    stage: Stage
    daemon: Daemon
    screen: Screen
    folder: Path
    _samples: Iterator[str] = field(factory=lambda: cycle(SAMPLES))
    _bar: SpaceBar = field(factory=SpaceBar)

    async def play(self, descriptor: int) -> None:
        """Until q, or the end of the input."""
        async with trio.open_nursery() as nursery:
            if self.stage.pulse:
                self.screen.hint = "no sound card: while you hold the bar, a question is spoken for you"
            while True:
                due = self._bar.let_go_at
                with trio.move_on_at(float("inf") if due is None else due):
                    await trio.lowlevel.wait_readable(descriptor)
                    keys = os.read(descriptor, 64)
                    if not keys or b"q" in keys or b"\x04" in keys:
                        break
                    if b" " in keys:
                        self._press_or_release(self._bar.strike(trio.current_time()), nursery)
                    continue
                self._bar.let_go()
                self._press_or_release(False, nursery)
            self.daemon.post(StopRequested())
            nursery.cancel_scope.cancel()

    def _press_or_release(self, pressed: bool | None, nursery: trio.Nursery) -> None:
        board = self.stage.board
        if pressed is None:
            return
        if board is None:  # a real board: its button works as well
            self.daemon.post(Pressed() if pressed else Released())
        elif pressed:
            board.press()
        else:
            board.release()
        if pressed and self.stage.pulse:
            nursery.start_soon(self._speak_for_visitor)

    async def _speak_for_visitor(self) -> None:
        assert self.stage.pulse is not None
        text = next(self._samples)
        self.screen.hint = f'spoken for you: "{text}"'
        wav = self.folder / "spoken-for-you.wav"
        write_wav(wav, await synthesise(text))
        voice = self.stage.pulse.speak(wav)
        with suppress(ProcessLookupError):
            await trio.to_thread.run_sync(voice.wait, abandon_on_cancel=True)


def is_terminal() -> bool:
    """True if somebody can press keys and see a picture."""
    return sys.stdin.isatty() and sys.stdout.isatty()


async def run() -> int:
    """The kiosk on this terminal, until q."""
    with tempfile.TemporaryDirectory() as folder, keys_unbuffered() as descriptor:
        async with set_stage(only_virtual=False, record=None) as stage:
            screen: Screen
            daemon = build_daemon(stage.settings, lambda light: screen.on_light(light))
            screen = Screen(stage, daemon)
            daemon.observe(screen)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(screen.draw_for_ever)
                nursery.start_soon(Player(stage, daemon, screen, Path(folder)).play, descriptor)
                await daemon.run()
                nursery.cancel_scope.cancel()
    return 0
