"""A kiosk and a timer that do what the test says, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, evolve, field

from kioskd.config.disk import Disk
from kioskd.config.load import parse
from kioskd.config.store import Store
from kioskd.config.trial import Health
from kioskd.config.versions import settings_version
from kioskd.settings_change.change import Changer, Terms
from kioskd.settings_change.kiosk import Kiosk
from kioskd.settings_change.trials import Outcome, Trials

OLD = b'# ours\nendpoints:\n  - name: here\n    url: "wss://a.example/v1"  # the old one\n    model: m\n'
NEW = OLD + b"audio: {volume: 40}\n"
HEALTHY = Health("healthy", pid=7)
WORSE = Health("degraded", frozenset({"fault speaker"}), ("no card",), pid=7)
USUAL = Terms()


@define(slots=False)
class FakeKiosk(Kiosk):
    """Takes what is in the file `settings` when it is told to reload, and is then as `judged` says."""

    file: Path
    runs: bool = True
    state: str = "active"
    judged: Callable[[str], Health] = lambda text: HEALTHY
    now: Health = HEALTHY
    trouble: str = ""
    reloads: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.take()

    def take(self) -> None:
        text = self.file.read_text()
        self.now = evolve(self.judged(text), settings=settings_version(parse(text, "f")))

    def health(self, first: str = "") -> Health:
        return self.now if self.runs else Health()

    def reload(self) -> bool:
        self.reloads.append(self.file.read_text())
        if self.runs:
            self.take()
        return self.runs

    def trouble_with(self, content: bytes, settings: Path) -> str:
        return self.trouble

    def unit_state(self) -> str:
        return self.state


@define
class FakeTimer:
    """Remembers."""

    after_s: float | None = None
    command: tuple[str, ...] = ()

    def arm(self, after_s: float, command: Sequence[str]) -> None:
        self.after_s, self.command = after_s, tuple(command)

    def disarm(self) -> None:
        self.after_s = None

    def armed(self) -> bool:
        return self.after_s is not None


@define
class Clock:
    """Stands still unless somebody sleeps."""

    now: float = 1000.0
    on_sleep: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()


class World:
    """A machine with settings, in a directory."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.file = root / "etc" / "kioskd.yaml"
        self.store = Store(self.file, root / "store", disk)
        self.timer, self.clock = FakeTimer(), Clock()
        self.kiosk = FakeKiosk(self.file)
        self.trials = Trials(
            self.store,
            self.kiosk,
            self.timer,
            "ann",
            ("--config", "f"),
            self.clock,
            self.clock.sleep,
            0.2,
        )
        self.changer = Changer(self.trials)


def make(root: Path, disk: Disk | None = None) -> World:
    """One that was just installed."""
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "kioskd.yaml").write_bytes(OLD)
    return World(root, disk)


def apply(world: World, text: bytes = NEW, terms: Terms = USUAL) -> Outcome:
    return world.changer.apply(text.decode(), "apply", terms, world.store.in_force())


def volume(number: int) -> bytes:
    return OLD + f"audio: {{volume: {number}}}\n".encode()
