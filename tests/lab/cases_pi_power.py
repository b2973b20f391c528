"""The power goes at a random moment of a change of the settings, thirty times: the old ones or the new ones, whole.

QEMU is killed, and what the machine had not written to its disk is lost. The machine that makes the changes is the same
each time, thawed from what it was before the first; its boot would take half a minute of every try. What is on the disk
after a cut is looked at as the next boot would find it: the file system's journal is replayed, and kioskd's own first
step of a start (`config settle`) is done there. The first cut of each kind of ending is booted from, up to a kiosk that
is healthy.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field, frozen

from kioskd.config.load import SettingsError, parse
from kioskd.config.store import Store
from kioskd.config.trial import Start
from kioskd.config.versions import settings_version
from kioskd.settings_change.kiosk import Kiosk
from kioskd.settings_change.settling import settle
from kioskd.settings_change.trials import Trials
from lab import faults
from lab.images import remove
from lab.pi import Pi
from lab.report import Evidence, expect
from lab.shell import CommandError, run, say, until
from lab.stage import Stage, settings_text

CUTS = 30
SEED = 6
PROBATION_S = 6
SETTINGS, STORE = "/etc/kioskd/kioskd.yaml", "/var/lib/kioskd-settings"
APPLY = f"kioskd config apply - --probation {PROBATION_S}s"
CARD = "/etc/modules-load.d/lab-card.conf"
REPLAYED = (0, 1)  # e2fsck: nothing to mend, or mended


@frozen
class Ending:
    """What a cut left behind: which settings are in place, on trial or not, and what a start does about it."""

    settings: str
    on_trial: bool
    start: str


class _NoTimer:
    """Where `settle` would have a trial ended."""

    def arm(self, after_s: float, command: Sequence[str]) -> None: ...

    def disarm(self) -> None: ...

    def armed(self) -> bool:
        return False


@define
class _Cuts:
    stage: Stage
    pi: Pi
    old: str
    memory: Path
    original: Path
    seen: dict[Ending, list[float]] = field(factory=dict)
    boots: list[Evidence] = field(factory=list)

    def cut(self, number: int, after_s: float, new: str) -> None:
        """One change, one cut. Raises Failed if anything but the old or the new settings is left."""
        _copy(self.original, self.pi.disk)
        self.pi.thaw(self.memory)
        line = threading.Thread(target=self._ask, args=(new,))
        line.start()
        time.sleep(after_s)
        self.pi.pull_the_plug()
        line.join()
        told = f"cut {number}, {after_s:.1f} s into {APPLY}"
        left = self.pi.disk.with_name("left.img")
        _copy(self.pi.disk, left)
        ending = found_on(left, self.old, new, told)
        remove(left)
        say(f"pi power-cuts {number}/{CUTS}: {after_s:.1f} s: {ending}")
        if ending not in self.seen:
            self.boots.append(self._boot(ending, new, told))
        self.seen.setdefault(ending, []).append(round(after_s, 2))

    def _ask(self, text: str) -> None:
        with suppress(CommandError):  # it is cut off
            self.stage.machine.run(APPLY, timeout=120, stdin=text)

    def _boot(self, ending: Ending, new: str, told: str) -> Evidence:
        machine = self.stage.machine
        self.stage.simulator.start()
        try:
            begun = time.monotonic()
            boot = self.pi.boot()
            self.stage.healthy(240)
            healthy = time.monotonic() - begun
            # A trial goes on where it was: it is decided after that long.
            until(
                "decided", lambda: machine.run(f"test -L {STORE}/pending && echo yes", check=False) == "", 90, every=1
            )
            now = machine.run(f"cat {SETTINGS}")
            expect(now in (self.old, new), f"{told}: after the boot neither the old settings nor the new ones:\n{now}")
            runs = machine.look("status")["settings"]["version"]
            expect(
                runs == settings_version(parse(now, SETTINGS)), f"{told}: the kiosk runs {runs}, the file is:\n{now}"
            )
            kept = machine.run(f"cat {STORE}/current/kioskd.yaml")
            expect(kept == now, f"{told}: the version that counts is not the file:\n{kept}")
        finally:
            self.pi.pull_the_plug()
            self.stage.simulator.stop()
        seconds = {"boot_s": round(boot, 1), "healthy_s": round(healthy, 1)}
        return {"after": str(ending), "ended_with": "new" if now == new else "old", **seconds}


def power_cuts(stage: Stage, pi: Pi) -> Evidence:
    """The power goes at random moments of 30 changes: each time the old settings or the new, whole, and a kiosk."""
    machine = stage.machine
    machine.put("snd-aloop\n", CARD)  # as on a Pi, the card is there when the kiosk comes up
    # The endpoint stays away meanwhile: a thawed machine's connections are dead, and a good change is kept without it.
    stage.simulator.stop()
    stage.unhealthy(90)
    begun = time.monotonic()
    machine.run(APPLY, timeout=120, stdin=_with_volume(settings_text(stage), 50))
    takes_s = time.monotonic() - begun
    machine.run("sync")
    old = machine.run(f"cat {SETTINGS}")
    memory, original = pi.disk.with_name("memory"), pi.disk.with_name("original.img")
    pi.freeze(memory)
    _copy(pi.disk, original)
    cuts, chance = _Cuts(stage, pi, old, memory, original), random.Random(SEED)
    begun = time.monotonic()
    for number in range(1, CUTS + 1):
        cuts.cut(number, chance.uniform(0.0, 1.1 * takes_s), _with_volume(old, 50 + number))
    seconds = time.monotonic() - begun
    _copy(original, pi.disk)
    remove(original)
    remove(memory)
    stage.simulator.start()
    begun = time.monotonic()
    pi.boot()
    machine.run(f"rm {CARD}")
    expect({each.settings for each in cuts.seen} == {"old", "new"}, f"the moments were not random enough: {cuts.seen}")
    return {
        "recovery_s": faults.recovery(stage, begun, 240),
        "seed": SEED,
        "an_apply_takes_s": round(takes_s, 1),
        "a_cut_takes_s": round(seconds / CUTS, 1),
        "endings": {str(ending): moments for ending, moments in cuts.seen.items()},
        "boots": cuts.boots,
    }


def found_on(disk: Path, old: str, new: str, told: str) -> Ending:
    """What the next boot finds on this disk, and does. Raises Failed if that is not whole."""
    code = int(run(["sh", "-c", f"e2fsck -fy {disk} >&2; echo $?"], timeout=120))
    expect(code in REPLAYED, f"{told}: the file system is broken (e2fsck: {code})")
    folder = disk.with_name("left")
    remove(folder)
    folder.mkdir()
    run(["debugfs", "-R", f"rdump {SETTINGS.rpartition('/')[0]} {STORE} {folder}", str(disk)], timeout=60)
    store = Store(folder / "kioskd/kioskd.yaml", folder / "kioskd-settings")
    before = _in_force(store)
    expect(before in (old, new), f"{told}: neither the old settings nor the new ones:\n{before}")
    trials = Trials(store, Kiosk(folder / "none.sock"), _NoTimer(), "the lab")
    step, words = settle(trials)
    expect(step not in (Start.LEAVE, Start.RESTORE), f"{told}: a start finds: {words}")
    now = _in_force(store)
    expect(now in (old, new), f"{told}: a start makes of it: {words}\n{now}")
    try:
        parse(now, SETTINGS)
        counts = store.pending if store.pending is not None else store.current
        expect(
            counts is not None and store.is_version(now.encode(), counts), f"{told}: version {counts} isn't the file"
        )
    except SettingsError as error:
        expect(False, f"{told}: {error}")
    settings = "new" if now == new else "old"
    ending = Ending(settings, store.pending is not None, step.value)
    remove(folder)
    return ending


def _in_force(store: Store) -> str:
    return (store.in_force() or b"(none)").decode(errors="replace")


def _with_volume(text: str, volume: int) -> str:
    lines = [line for line in text.splitlines() if not line.strip().startswith("volume:")]
    at = lines.index("audio:") + 1
    return "\n".join([*lines[:at], f"  volume: {volume}", *lines[at:]]) + "\n"


def _copy(one: Path, other: Path) -> None:
    run(["cp", "--sparse=always", "--reflink=auto", str(one), str(other)], timeout=120)
