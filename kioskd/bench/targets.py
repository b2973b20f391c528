"""The figures and their targets, as the house's book of performance has them. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from attrs import field, frozen


@frozen
class Bound:
    """One condition of a target: `value` is at most `limit`."""

    text: str
    """What `value` is: "x floor", "p99"."""
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the condition holds."""
        return self.value <= self.limit


@frozen
class Row:
    """One line of the result. Without a figure it could not be measured, and `note` says why."""

    name: str
    what: str
    unit: str
    figure: float | None = None
    compared: dict[str, float] = field(factory=dict)
    """What others need, in the same unit."""
    bounds: tuple[Bound, ...] = ()
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether every condition holds; None for a row that was not measured."""
        return None if self.figure is None else all(bound.met for bound in self.bounds)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of the values that is no less than so many percent of them (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -int(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, rank - 1)]


def times(name: str, figure: float, other: float, limit: float) -> Bound:
    """At most so many times what another needs."""
    return Bound(f"x {name}", figure / other, limit)


def start_up(kiosk: Sequence[float], openai: Sequence[float], bare: Sequence[float]) -> Row:
    """Processor ms until the session is open."""
    figure, others = median(kiosk), {"openai SDK": median(openai), "bare python": median(bare)}
    bounds = (
        times("openai SDK", figure, others["openai SDK"], 0.40),
        times("bare python", figure, others["bare python"], 26),
    )
    return Row("start-up", "CPU from start to READY", "ms", figure, others, bounds)


def idle_memory(kiosk: Sequence[float], openai: Sequence[float], client: Sequence[float]) -> Row:
    """Resident MB of a connected client. `openai`: with the package's own helpers for sound; `client`: without them."""
    figure, other = median(kiosk), median(openai)
    bounds = (Bound("MB", figure, 47), times("openai SDK", figure, other, 0.6))
    note = "both with a microphone and a speaker open; the SDK's with its helpers for sound (voice-helpers: numpy)"
    others = {"openai SDK": other, "SDK without helpers": median(client)}
    return Row("rss", "RSS idle, connected", "MB", figure, others, bounds, note)


FLAT_MB = 0.25  # what an allocator may still find: a leak of a KB a turn would show four times that


def hour_of_talk(samples: Sequence[float], turns: int) -> Row:
    """Growth of resident memory. `samples` in MB: idle, then once a minute; flat after a third of the time."""
    third = samples[len(samples) // 3]
    growth, later = samples[-1] - samples[0], samples[-1] - third
    bounds = (Bound("MB over idle", growth, 1.0), Bound("MB after a third of the time", later, FLAT_MB))
    what = f"RSS growth over {len(samples) - 1} minutes of talk"
    return Row("hour", what, "MB", growth, {"after a third": later}, bounds, f"{turns} turns, idle {samples[0]:.1f} MB")


def idle_cpu(kiosk: Sequence[float], drain: Sequence[float], server: Sequence[float]) -> Row:
    """Processor ms a second while nobody is there. `server`: what a sound server's threads in the process take."""
    figure = median(kiosk)
    note = f"a sound server's threads in the process take {median(server):.1f} more; a sound card has none"
    others = {"bare drain loop": median(drain)}
    return Row("idle", "CPU idle, pre-roll running", "ms/s", figure, others, (Bound("ms/s", figure, 1.5),), note)


_LIMITS = {"talking": (9.0, 1.8, 0.35), "answering": (4.5, 1.5, 0.55)}  # ms/s, x floor, x openai SDK


def conversation(name: str, costs: Mapping[str, Sequence[float]], note: str = "", judged: bool = True) -> Row:
    """Processor ms per second of sound, for each kind of client. `name`: talking or answering."""
    medians = {kind: median(values) for kind, values in costs.items()}
    figure = medians.pop("kiosk")
    most, of_floor, of_sdk = _LIMITS[name.partition(" ")[0]]
    bounds = (
        Bound("ms/s", figure, most),
        times("floor", figure, medians["floor"], of_floor),
        times("openai SDK", figure, medians["openai SDK"], of_sdk),
    )
    return Row(name, f"CPU {name}", "ms/s", figure, medians, bounds if judged else (), note)


_DELAYS = {
    "press": ("press to first bytes on the wire", 3.0, None),
    "release": ("release to commit, after the post-roll", 0.5, 5.0),
    "first-sound": ("first delta to first ALSA write", 2.5, None),
    "barge-in": ("press to drop() returned", 5.0, 20.0),
}


def delay(name: str, values: Sequence[float], note: str = "") -> Row:
    """How long a step takes, in ms."""
    what, p50, p99 = _DELAYS[name]
    figure, worst = median(values), percentile(values, 99)
    bounds = [Bound("p50 ms", figure, p50)]
    if p99 is not None:
        bounds.append(Bound("p99 ms", worst, p99))
    return Row(name, what, "ms", figure, {"p99": worst, "best": min(values)}, tuple(bounds), note)


def gaps(count: float, answers: int, note: str = "") -> Row:
    """Silences in answers that came late."""
    what = f"gaps in {answers} answers with 150 ms of jitter"
    return Row("gaps", what, "gaps", count, {}, (Bound("gaps", count, 0),), note)


def reconnect(values: Sequence[float], round_trip_ms: float) -> Row:
    """From the link's return to a session."""
    figure, limit = median(values), 1000 + round_trip_ms
    note = f"worst {max(values):.0f} ms of {len(values)}"
    return Row("reconnect", "1 s outage, link back to ready", "ms", figure, {}, (Bound("ms", figure, limit),), note)


def idle_day(size: int, lines: int) -> Row:
    """What an SD card takes of a day on which nobody comes."""
    return Row("idle-day", "to the journal, of a day on which nobody comes", "bytes", size, note=f"{lines} lines")


def missing(name: str, why: str) -> Row:
    """A row that could not be measured here."""
    return Row(name, "not measured", "", note=why)
