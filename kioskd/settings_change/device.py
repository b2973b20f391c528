"""Whether this very machine can do what new settings ask for: the card, the pins, the key, the files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from kioskd.config.pins import bcm_number
from kioskd.config.schema import LampKind, Settings
from kioskd.config.secrets import KeyUnavailable
from kioskd.stored_key import find_key

_CARD = re.compile(r"[A-Za-z0-9_]+:(?:CARD=)?([A-Za-z0-9_]+)(?:,(?:DEV=)?([0-9]+))?")
_WAYS = {"microphone": "capture", "speaker": "playback"}
_CREDENTIALS = (Path("/etc/credstore"), Path("/etc/credstore.encrypted"))
_COMMAND_S = 5.0


@frozen
class Complaint:
    """One thing that can't work here."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


def complaints(
    settings: Settings,
    changed: Collection[str] | None = None,
    held: Collection[int] = (),
    *,
    proc: Path = Path("/proc"),
    environ: Mapping[str, str] | None = None,
    holders: Callable[[], Mapping[int, str]] | None = None,
) -> list[Complaint]:
    """What this machine lacks for them. `changed`: judge these keys only. `held`: pins (BCM) that our daemon has.

    `environ`: the daemon's environment, None where it isn't known.
    """
    found = [
        *_cards(settings, proc),
        *_sounds(settings),
        *_pins(settings, held, holders or pin_holders),
        *_keys(settings, environ),
        *_metrics(settings),
    ]
    if changed is None:
        return found
    return [each for each in found if any(key == each.key or key.startswith(f"{each.key}.") for key in changed)]


def pins_of(settings: Settings) -> set[int]:
    """The pins that a kiosk of these settings holds, as BCM numbers."""
    return {number for _, number in _wanted(settings)}


def _cards(settings: Settings, proc: Path) -> Iterator[Complaint]:
    """Names that name a card of the kernel's; all others (default, pulse:...) are the sound server's matter."""
    for part, way in _WAYS.items():
        name = getattr(settings.audio, part)
        named = _CARD.fullmatch(name)
        if named is None or name.startswith("pulse:"):
            continue
        card = _card_number(named[1], proc)
        if card is None:
            yield Complaint(f"audio.{part}", f"there is no sound card {named[1]}; `kioskd devices` lists what there is")
        elif not _can(card, named[2], way, proc):
            yield Complaint(f"audio.{part}", f"{name} has no {way}; `kioskd devices` lists what there is")


def _card_number(name: str, proc: Path) -> int | None:
    asound = proc / "asound"
    try:
        if name.isdecimal():
            return int(name) if (asound / f"card{name}").is_dir() else None
        return int((asound / name).readlink().name.removeprefix("card"))
    except (OSError, ValueError):
        return None


def _can(card: int, device: str | None, way: str, proc: Path) -> bool:
    try:
        lines = (proc / "asound" / "pcm").read_text().splitlines()
    except OSError:
        return True  # not to be known
    number = rf"{card:02d}-{int(device):02d}: " if device else rf"{card:02d}-\d+: "
    return any(re.match(number, line) and re.search(rf": {way} \d+", line) for line in lines)


def _sounds(settings: Settings) -> Iterator[Complaint]:
    from kioskd.audio.sign_sounds import problems

    for problem in problems(settings.audio.sounds):
        key, _, message = problem.partition(": ")
        yield Complaint(key, message)


def _wanted(settings: Settings) -> Iterator[tuple[str, int]]:
    panel = settings.panel
    keys = [("panel.button.pin", panel.button.pin)]
    if panel.owner_button is not None:
        keys.append(("panel.owner_button.pin", panel.owner_button.pin))
    if panel.lamp.kind is not LampKind.NONE:
        keys += [("panel.lamp.pins", pin) for pin in panel.lamp.pins]
    for key, pin in keys:
        number = bcm_number(pin)
        if number is not None:
            yield key, number


def _pins(settings: Settings, held: Collection[int], holders: Callable[[], Mapping[int, str]]) -> Iterator[Complaint]:
    wanted = [(key, number) for key, number in _wanted(settings) if number not in held]
    by = holders() if wanted else {}
    for key, number in wanted:
        if number in by:
            yield Complaint(key, f"GPIO{number} is in use by {by[number]}; free it, or choose another pin")


def pin_holders(listed: Path = Path("/sys/kernel/debug/gpio")) -> dict[int, str]:
    """Who holds which pin, by the kernel's own list, else `gpioinfo`; empty where neither can be asked."""
    try:
        said = listed.read_text()  # root's, as this command is
    except OSError:
        return _by_gpioinfo()
    holders = {}
    for line in said.splitlines():
        # " gpio-529 (GPIO17              |lg                  ) in  hi IRQ"
        found = re.match(r"\s*gpio-\d+\s*\((?:GPIO)?(\d+)\s*\|([^)]*)\)", line)
        if found and found[2].strip():
            holders[int(found[1])] = found[2].strip()
    return holders


def _by_gpioinfo() -> dict[int, str]:
    try:
        said = subprocess.run(
            ["gpioinfo"], capture_output=True, text=True, timeout=_COMMAND_S, check=False
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = re.findall(r'^\s*line\s+\d+:\s+"GPIO(\d+)"\s+.*?(?:consumer=)?"([^"]+)"', said, re.MULTILINE)
    return {int(number): name for number, name in lines}


def _keys(settings: Settings, environ: Mapping[str, str] | None) -> Iterator[Complaint]:
    for number, endpoint in enumerate(settings.endpoints):
        if endpoint.key.environment and environ is None:
            continue  # the service's environment isn't this command's
        if endpoint.key.credential and _is_stored(endpoint.key.credential):
            continue
        try:
            find_key(endpoint, environ)
        except KeyUnavailable as error:
            yield Complaint(f"endpoints[{number}].key", str(error))


def _is_stored(credential: str) -> bool:
    """By a name of its own, or by the one that the unit knows it by."""
    return any((place / name).exists() for place in _CREDENTIALS for name in (credential, f"kioskd-{credential}"))


def environment_of(pid: int | None) -> dict[str, str] | None:
    """What the daemon was started with; None where that can't be known."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    return {
        name: value for name, _, value in (pair.partition("=") for pair in raw.decode(errors="replace").split("\0"))
    }


def _metrics(settings: Settings) -> Iterator[Complaint]:
    if settings.metrics is not None and not Path(settings.metrics.textfile).parent.is_dir():
        yield Complaint("metrics.textfile", f"there is no directory {Path(settings.metrics.textfile).parent}")
