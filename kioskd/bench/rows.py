"""How each row is measured: rounds in which the kiosk and the others take turns, medians at the end."""

from __future__ import annotations

import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from kioskd.bench import targets
from kioskd.bench.lab import BrokenError, Client, Lab
from kioskd.bench.targets import Row

KINDS = {"kiosk": "kiosk", "openai SDK": "openai", "websockets": "websockets", "floor": "floor"}
TALK_S, ANSWER_MS = 3.0, 8000
WARM_UP_S = 0.5
IDLE_S = 10.0
HOUR_MINUTES = 60
DELAYS_A_ROUND = 40  # of fewer, the worst of all would be the 99th percentile
STARTS = 9  # at least: short as they are, a busy moment spoils one
JITTER_MS = 150.0
JITTERY_MS = 8000
LEARNING = 2  # answers until the jitter buffer knows the link: one bad one is an accident, two are the link
LINK_KNOWN = 8  # answers until a link that is fast is trusted; the very first is never typical
OUTAGE_S = 1.0
_HOUR_SPEED = 400.0  # ten times the accelerated hour's own pace

Measure = Callable[[Lab, int], list[Row]]


def start_up(lab: Lab, rounds: int) -> list[Row]:
    """Start-up and idle memory, out of the same starts."""
    if lab.no_sound:
        return [targets.missing(name, lab.no_sound) for name in ("start-up", "rss")]
    cpu: dict[str, list[float]] = defaultdict(list)
    rss: dict[str, list[float]] = defaultdict(list)
    for number in range(max(STARTS, rounds) + 1):
        for what in _turned(("bare", "kiosk", "openai"), number):
            result = lab.start_up(what)
            if number:  # the first one fills the caches, of files and of compiled modules
                cpu[what].append(result["cpu_ms"])
                rss[what].append(result["rss_mb"])
                if what == "openai":
                    rss["client"].append(result["client_mb"])
    return [
        targets.start_up(cpu["kiosk"], cpu["openai"], cpu["bare"]),
        targets.idle_memory(rss["kiosk"], rss["openai"], rss["client"]),
    ]


def hour(lab: Lab, rounds: int) -> list[Row]:
    """An accelerated hour, once."""
    lab.control.weather(answer_ms=8000, speed=_HOUR_SPEED, jitter_ms=0)
    result = lab.hour(HOUR_MINUTES)
    return [targets.hour_of_talk(result["rss_mb"], result["turns"])]


def idle(lab: Lab, rounds: int) -> list[Row]:
    """The kiosk beside a loop that does nothing but drain a microphone."""
    if lab.no_sound:
        return [targets.missing("idle", lab.no_sound)]
    costs: dict[str, list[float]] = {"kiosk": [], "drain": []}
    server: list[float] = []
    with lab.client("kiosk", profile="idle") as kiosk, lab.client("drain") as drain:
        kiosk.order("idle", 2)
        for _ in range(rounds):
            for client in (kiosk, drain):
                spent = client.order("idle", IDLE_S)
                costs[client.kind].append(spent["cpu_ms"] / spent["s"])
                if client is kiosk:
                    server.append(spent["server_ms"] / spent["s"])
    return [targets.idle_cpu(costs["kiosk"], costs["drain"], server)]


def conversation(lab: Lab, rounds: int) -> list[Row]:
    """Talking and answering: the whole client with a sound card, and beside it the wire alone."""
    note = "wire alone: no sound card, chunks come by a timer, answers go nowhere; told, not judged"
    wire, _ = _costs(lab, rounds, sound=False)
    rows = [targets.conversation(f"{name} (wire alone)", wire[name], note, judged=False) for name in wire]
    if lab.no_sound:
        return [*(targets.missing(name, lab.no_sound) for name in wire), *rows]
    whole, server_ms = _costs(lab, rounds, sound=True)
    note = f"whole clients, each without a sound server's threads in its process (the kiosk's: {server_ms:.1f})"
    return [*(targets.conversation(name, whole[name], note) for name in whole), *rows]


def _costs(lab: Lab, rounds: int, sound: bool) -> tuple[dict[str, dict[str, list[float]]], float]:
    """(ms per second of sound, by row and client; what a sound server's threads take in the kiosk besides)."""
    costs: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in ("talking", "answering")}
    server: list[float] = []
    with ExitStack() as stack:
        profile = "conversation" if sound else "conversation-wire"
        clients = {
            name: stack.enter_context(lab.client(kind, sound=sound, profile=profile if kind == "kiosk" else ""))
            for name, kind in KINDS.items()
        }
        lab.control.weather(answer_ms=1000, speed=5, jitter_ms=0)
        for client in clients.values():
            client.order("turn", WARM_UP_S)
        lab.control.weather(answer_ms=ANSWER_MS)
        for number in range(rounds):
            for name in _turned(tuple(clients), number):
                spent = clients[name].order("turn", TALK_S)
                _check_length(clients[name], spent)
                costs["talking"][name].append(spent["talk_ms"] / spent["talk_s"])
                costs["answering"][name].append(spent["answer_ms"] / spent["answer_s"])
                if name == "kiosk":
                    server.append(spent["server_ms"] / (spent["talk_s"] + spent["answer_s"]))
    return costs, statistics.median(server)


def _check_length(client: Client, spent: dict[str, float]) -> None:
    """A client that did less than the others is no comparison."""
    if abs(spent["talk_s"] - TALK_S) > 0.25 or abs(spent["answer_s"] - ANSWER_MS / 1000) > 0.01:
        said, heard = spent["talk_s"], spent["answer_s"]
        raise BrokenError(f"the client {client.kind} said {said:.2f} s and heard {heard:.2f} s")


def delays(lab: Lab, rounds: int) -> list[Row]:
    """Turns that are interrupted, with stamps at the devices and at the server."""
    names = ("press", "release", "first-sound", "barge-in")
    if lab.no_sound:
        return [targets.missing(name, lab.no_sound) for name in names]
    lab.control.weather(answer_ms=4000, speed=5, jitter_ms=0)
    seen: dict[str, list[float]] = defaultdict(list)
    with lab.client("stamped", profile="delays") as kiosk:
        for _ in range(LINK_KNOWN):
            kiosk.order("delays")
        for _ in range(rounds * DELAYS_A_ROUND):
            for name, ms in kiosk.order("delays").items():
                seen[name].append(ms)
    since_sound = statistics.median(seen["last_sound"])
    return [
        targets.delay("press", seen["press"]),
        targets.delay(
            "release",
            seen["release"],
            "the post-roll is counted in sound, from what was recorded at the release: up to a period earlier; from"
            f" the last sound that was recorded to the commit, {since_sound:.1f} ms",
        ),
        targets.delay("first-sound", seen["first_sound"], "over a link that is known to be fast: no pre-buffer"),
        targets.delay("barge-in", seen["barge_in"], "to the last audible sample it takes what the sink holds besides"),
    ]


def gaps(lab: Lab, rounds: int) -> list[Row]:
    """Answers whose pieces come late: as fast as an endpoint sends them, and as slowly as they play."""
    if lab.no_sound:
        return [targets.missing("gaps", lab.no_sound)]
    counts: dict[float, list[float]] = {}
    for speed in (5.0, 1.0):
        lab.control.weather(answer_ms=JITTERY_MS, speed=speed, jitter_ms=JITTER_MS)
        with lab.client("kiosk") as kiosk:
            counts[speed] = [kiosk.order("turn", WARM_UP_S)["gaps"] for _ in range(max(3, rounds))]
    fast, slow = counts[5.0], counts[1.0]
    note = (
        f"at 5 x real time {sum(fast):.0f}; at real time {sum(slow[LEARNING:]):.0f}, and before that {LEARNING} answers"
        f" from which the buffer learned the link: {sum(slow[:LEARNING]):.0f}"
    )
    return [targets.gaps(sum(fast) + sum(slow[LEARNING:]), len(fast) + len(slow) - LEARNING, note)]


def idle_day(lab: Lab, rounds: int) -> list[Row]:
    """In virtual time, in this process."""
    from kioskd.bench import day

    return [targets.idle_day(*day.idle_day())]


def reconnect(lab: Lab, rounds: int) -> list[Row]:
    """The server resets every connection, and is gone for a second; before that the link was of use, or it would be
    one that flaps, which a kiosk is slow to come back to."""
    lab.control.weather(answer_ms=1000, speed=5, jitter_ms=0)
    with lab.client("kiosk", sound=not lab.no_sound) as kiosk:
        waits = []
        for _ in range(max(3, rounds)):
            kiosk.order("turn", WARM_UP_S)
            waits.append(kiosk.order("outage", OUTAGE_S)["back_to_ready"])
    return [targets.reconnect(waits, _round_trip_ms())]


def _round_trip_ms() -> float:
    """Of loopback."""
    here, there = socket.socketpair()
    with here, there:
        began = time.perf_counter()
        here.send(b"?")
        there.send(there.recv(1))
        here.recv(1)
        return (time.perf_counter() - began) * 1000


def _turned(names: Iterable[str], by: int) -> list[str]:
    """Each round begins with another one."""
    order = list(names)
    by %= len(order)
    return order[by:] + order[:by]


MEASURES: dict[str, tuple[tuple[str, ...], Measure]] = {
    "start": (("start-up", "rss"), start_up),
    "idle": (("idle",), idle),
    "conversation": (("talking", "answering"), conversation),
    "delays": (("press", "release", "first-sound", "barge-in"), delays),
    "gaps": (("gaps",), gaps),
    "reconnect": (("reconnect",), reconnect),
    "hour": (("hour",), hour),
    "day": (("idle-day",), idle_day),
}
"""What is measured together, and which rows come of it."""

NAMES = tuple(name for names, _ in MEASURES.values() for name in names)
