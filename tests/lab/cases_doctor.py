"""Faults of which `kioskd doctor` is told nothing: it must name the right cause first, and none on a healthy kiosk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen

from lab.report import Case, Evidence, expect
from lab.stage import ENDPOINT, Stage, write_settings

CHIRPS = 4  # at most
DROP_IN = "/etc/systemd/system/kioskd.service.d/zz-fault.conf"
KEY = "/etc/credstore/kioskd-api-key"
SETTINGS = "/etc/kioskd/kioskd.yaml"
RESTART = "systemctl reset-failed kioskd; systemctl restart kioskd"
RELOADED = f"systemctl daemon-reload; {RESTART}"
KEY_BACK = f"cp -a /run/lab-key {KEY}; {RESTART}"
PACTL = "pactl -s unix:/run/lab-pulse/native"
ENVIRONMENT = "GPIOZERO_PIN_FACTORY=mock PULSE_SERVER=unix:/run/lab-pulse/native "  # as the unit's, in a container
NAME_SERVER = "$(cut -d' ' -f2 /run/lab-resolv)"
TLS = (
    "openssl req -x509 -newkey rsa:2048 -nodes -keyout /run/lab-tls.key -out /run/lab-tls.pem -days 2 "
    f"-subj /CN={ENDPOINT} 2>/dev/null; systemd-run -q --unit lab-tls --collect openssl s_server "
    f"-accept {NAME_SERVER}:4433 -key /run/lab-tls.key -cert /run/lab-tls.pem -quiet; "
    f"sed -i s,ws://{ENDPOINT}:[0-9]*,wss://{NAME_SERVER}:4433, {SETTINGS}; {RESTART}"
)


@frozen
class Fault:
    """One thing that is wrong with a machine.

    Attributes:
        make: A shell command, or what to do from outside.
        mend: Undoes it. The settings are written anew after each fault.
        cause: The line that the doctor must name first; `word` stands in it or in its remedy.
        chirp: Examined with the test sound.
        stopped: Examined once more while the kiosk is stopped.
        idle: Examined while the kiosk is stopped, which it stays.
    """

    name: str
    make: str | Callable[[Stage], object]
    mend: str | Callable[[Stage], object]
    cause: str
    word: str
    chirp: bool = False
    stopped: bool = False
    idle: bool = False


def _setting(change: str) -> str:
    """A change (of sed) to the settings, and a restart with it."""
    return f"sed -i '{change}' {SETTINGS}; {RESTART}"


def _drop_in(lines: str) -> str:
    return f"printf '[Service]\\n{lines}\\n' >{DROP_IN}; {RELOADED}"


def _gone(stage: Stage) -> None:
    stage.simulator.stop()
    stage.machine.run(RESTART, timeout=90)


def _frozen(stage: Stage) -> None:
    stage.simulator.freeze()
    stage.machine.run(RESTART, timeout=90)


ANYWHERE = (
    Fault("unit-stopped", "systemctl stop kioskd", RESTART, "service", "inactive"),
    Fault("unit-disabled", "systemctl -q disable kioskd", "systemctl -q enable kioskd", "service", "at boot"),
    Fault("watchdog-off", _drop_in("WatchdogSec=0"), f"rm {DROP_IN}; {RELOADED}", "service", "watchdog is off"),
    Fault("unit-broken", _drop_in("ExecStart=\\nExecStart=/bin/false"), f"rm {DROP_IN}; {RELOADED}", "service", "-n"),
    Fault("kiosk-frozen", "kill -STOP $(systemctl show -P MainPID kioskd)", RESTART, "vitals", "answer"),
    Fault("socket-gone", "rm /run/kioskd/control.sock", RESTART, "vitals", "control socket"),
    Fault("key-missing", f"rm {KEY}; {RESTART}", KEY_BACK, "credential", KEY, stopped=True),
    Fault("key-open", f"chmod 644 {KEY}", f"chmod 600 {KEY}", "credential", "chmod 600"),
    Fault("key-empty", f": >{KEY}; {RESTART}", KEY_BACK, "credential", "empty"),
    Fault("key-wrong", f"echo sk-of-another-account-012345 >{KEY}; {RESTART}", KEY_BACK, "key accepted", "API key",
          stopped=True),
    Fault("settings-broken", f"echo 'volume: loud' >>{SETTINGS}", "", "settings", "volume"),
    Fault("settings-gone", f"rm {SETTINGS}", "", "settings", "no such file"),
    Fault("dns-dead", f"systemctl stop lab-names; {RESTART}", f"systemctl start lab-names; {RESTART}", "name",
          ENDPOINT, stopped=True),
    Fault("name-unknown", _setting(f"s/{ENDPOINT}/nobody.lab/"), RESTART, "name", "nobody.lab"),
    Fault("endpoint-gone", _gone, lambda stage: stage.simulator.start(), "encryption", "refused", stopped=True),
    Fault("endpoint-frozen", _frozen, lambda stage: stage.simulator.freeze(False), "key accepted", "firewall"),
    Fault("proxy-dead", _setting('s,^    model:,    proxy: "http://127.0.0.1:9"\\n&,'), RESTART, "proxy", "refused"),
    Fault("model-url", _setting("s,/v1/realtime,/v2/nothing,"), RESTART, "key accepted", "404"),
)  # fmt: skip

CONTAINER = (
    Fault("tls-untrusted",
          TLS,
          f"systemctl stop lab-tls; {RESTART}", "encryption", "not trusted"),
    Fault("disk-full",
          "mount -t tmpfs -o size=16m,mode=1777 lab /var/lib/kioskd; head -c 15m /dev/zero >/var/lib/kioskd/fill",
          "umount /var/lib/kioskd", "disk", "full"),
    Fault("state-read-only",
          "mount --bind /var/lib/kioskd /var/lib/kioskd; mount -o remount,bind,ro /var/lib/kioskd",
          "umount /var/lib/kioskd", "writable", "/var/lib/kioskd"),
    Fault("dns-swallowed", f"echo nameserver 192.0.2.53 >/etc/resolv.conf; {RESTART}",
          f"cp /run/lab-resolv /etc/resolv.conf; {RESTART}", "name", ENDPOINT),
    Fault("sound-server-gone", "systemctl stop lab-pulse", "systemctl start lab-pulse lab-room", "microphone", "lost",
          stopped=True),
    Fault("sink-muted", f"{PACTL} set-default-sink spk; {PACTL} set-sink-mute spk 1", f"{PACTL} set-sink-mute spk 0",
          "mixer", "set-sink-mute", chirp=True, stopped=True),
    Fault("source-muted", f"{PACTL} set-default-source mic.monitor; {PACTL} set-source-mute mic.monitor 1",
          f"{PACTL} set-source-mute mic.monitor 0", "mixer", "set-source-mute", chirp=True),
    Fault("speaker-not-heard", f"{PACTL} unload-module module-loopback",
          f"{PACTL} load-module module-loopback source=spk.monitor sink=mic latency_msec=80 adjust_time=0",
          "chirp", "alsamixer", chirp=True),
    Fault("microphone-unknown", _setting('s,microphone: "mic",microphone: "plughw:CARD=Gone",'), RESTART,
          "microphone", "Gone", stopped=True),
)  # fmt: skip

HOLD_BUTTON = "import lgpio, time; lgpio.gpio_claim_input(lgpio.gpiochip_open(0), 17); time.sleep(999)"
DUMMY = f"modprobe snd-dummy; sed -i 's/CARD=Loopback/CARD=Dummy/;s/,DEV=1,SUBDEV=1//;s/,DEV=0//' {SETTINGS}"
SPEAKER_ALONE = f"sed -i 's/DEV=0\"/DEV=0,SUBDEV=0\"/' {SETTINGS}; "
THIEF_GONE = "systemctl stop lab-thief"
DRIVER = "/sys/bus/platform/drivers/snd_aloop"


def _held(command: str) -> str:
    """Something else has what is the kiosk's."""
    return f"systemd-run -q --unit lab-thief --collect {command}; sleep 2"


def _without_network(stage: Stage) -> None:
    """Nobody can ask from outside then: the doctor is called in time, and its page kept."""
    look = f"ip link set eth0 down; {_doctor(stage)} >/run/lab-page; ip link set eth0 up"
    stage.machine.run(f"systemd-run -q --unit lab-away --collect sh -c '{look}; ip route add default via 10.0.2.2'")
    time.sleep(3)
    stage.machine.wait_for_ssh(90)


# To start the kiosk takes half a minute there: what can be seen without it comes last, while it is stopped.
PI = (
    Fault("card-unbound", f"systemctl stop lab-room; echo snd_aloop.0 >{DRIVER}/unbind",
          f"echo snd_aloop.0 >{DRIVER}/bind; systemctl restart lab-room", "microphone", "Loopback"),
    Fault("no-route", _without_network, "rm /run/lab-page", "route", "no route"),
    Fault("clock-wrong", "date -s 2020-01-01", lambda stage: stage.machine.run(f"date -s @{time.time():.0f}"), "clock",
          "it says"),
    Fault("microphone-held", _held("arecord -q -D plughw:CARD=Loopback,DEV=1,SUBDEV=1 -f dat /dev/null"),
          THIEF_GONE, "card is free", "arecord", idle=True),
    Fault("speaker-held", SPEAKER_ALONE + _held("aplay -q -D plughw:CARD=Loopback,DEV=0,SUBDEV=0 -f dat /dev/zero"),
          THIEF_GONE, "card is free", "aplay", idle=True),
    Fault("capture-off", DUMMY, "", "mixer", "switched off", idle=True),  # all its inputs are, as it comes
    Fault("not-in-audio", "gpasswd -d kioskd audio", "gpasswd -a kioskd audio", "groups", "audio", idle=True),
    Fault("not-in-gpio", "gpasswd -d kioskd gpio", "gpasswd -a kioskd gpio", "groups", "gpio", idle=True),
    Fault("button-line-held", _held(f"/opt/kioskd/current/bin/python -c '{HOLD_BUTTON}'"),
          THIEF_GONE, "button and lamp", "17", idle=True),
)  # fmt: skip

PAIRS = (
    ("key-open", "disk-full"),
    ("key-missing", "dns-dead"),
    ("key-wrong", "unit-disabled"),
    ("settings-broken", "sink-muted"),
    ("endpoint-gone", "sound-server-gone"),
    ("dns-dead", "unit-disabled"),
    ("proxy-dead", "state-read-only"),
    ("name-unknown", "source-muted"),
    ("sink-muted", "unit-stopped"),
    ("key-empty", "disk-full"),
)


def healthy(stage: Stage, *_: object) -> Evidence:
    """kioskd doctor on the healthy kiosk, running and stopped: it finds nothing."""
    stage.machine.run(f"cp -a {KEY} /run/lab-key; cp /etc/resolv.conf /run/lab-resolv")
    stage.machine.run("systemctl is-active -q kioskd || systemctl start kioskd", timeout=120)
    stage.healthy(120)
    page = _calm_page(stage)
    expect(page["verdict"] == "pass", f"on a healthy kiosk: {_troubles(page)}")
    stage.machine.run("systemctl stop kioskd", timeout=90)
    still = _calm_page(stage)
    stage.machine.run(RESTART, timeout=90)
    stage.healthy(90)
    found = [line for line in _troubles(still) if not line.startswith("service: ")]
    expect(not found, f"on a healthy kiosk that is stopped: {found}")
    return {"lines": len(page["findings"]), "judged": sum(f["verdict"] == "pass" for f in page["findings"])}


def examined(fault: Fault, stage: Stage, *_: object) -> Evidence:
    """One fault."""
    if fault.idle:
        stage.machine.run("systemctl stop kioskd", timeout=90)
    _do(stage, fault.make)
    try:
        told = [_page(stage, fault.chirp)]
        if fault.stopped:
            stage.machine.run("systemctl stop kioskd", timeout=90)
            told.append(_page(stage, fault.chirp))
    finally:
        seconds = _mended(stage, fault)
    for page in told:
        expect(page["first"] == fault.cause, f"named first: {page['first']}; {_troubles(page)}")
    text = next(f["text"] + f["remedy"] for f in told[0]["findings"] if f["cause"] == fault.cause)
    expect(fault.word in text, f"{fault.word!r} isn't in {text!r}")
    return {"recovery_s": seconds, "told": _troubles(told[0])[:2]}


def pairs(stage: Stage, *_: object) -> Evidence:
    """Ten pairs of faults: one of the two is named first, and none is taken for all right."""
    told = {}
    for names in PAIRS:
        both = [BY_NAME[name] for name in names]
        try:
            for fault in both:
                _do(stage, fault.make)
            page = _page(stage, any(fault.chirp for fault in both))
        finally:
            for fault in reversed(both):
                _mended(stage, fault, patience_s=0)
            stage.healthy(90)
        verdicts = {f["cause"]: f["verdict"] for f in page["findings"]}
        causes = [fault.cause for fault in both]
        expect(page["first"] in causes, f"{names}: named first: {page['first']}; {_troubles(page)}")
        expect("pass" not in [verdicts[cause] for cause in causes], f"{names}: {verdicts}")
        told[" + ".join(names)] = page["first"]
    return told


def _do(stage: Stage, what: str | Callable[[Stage], object]) -> None:
    if isinstance(what, str):
        stage.machine.run(what, timeout=90, check=False)
    else:
        what(stage)


def _mended(stage: Stage, fault: Fault, patience_s: float = 90) -> float | None:
    """Mend it; the seconds until the kiosk is healthy, without help where the fault doesn't need any."""
    write_settings(stage)
    begun = time.monotonic()
    _do(stage, fault.mend)
    if fault.idle:
        return None
    stage.machine.run("systemctl is-active -q kioskd || systemctl restart kioskd", timeout=90, check=False)
    if patience_s:
        stage.healthy(patience_s)
    return round(time.monotonic() - begun, 1)


def _doctor(stage: Stage, chirp: bool = False) -> str:
    quiet = "" if chirp else " --quiet"
    return f"{'' if stage.has_pins else ENVIRONMENT}kioskd doctor --json{quiet}"


def _page(stage: Stage, chirp: bool) -> dict[str, Any]:
    page: dict[str, Any] = json.loads(
        stage.machine.run(f"cat /run/lab-page 2>/dev/null || {_doctor(stage, chirp)}", timeout=180, check=False)
    )
    return page


def _calm_page(stage: Stage) -> dict[str, Any]:
    """As an owner does who is told to try again: a sound server on a busy machine may drop a part of the chirp."""
    for _ in range(CHIRPS):
        page = _page(stage, chirp=not stage.has_pins)
        if not any(line.startswith("chirp: ") for line in _troubles(page)):
            break
        time.sleep(3)
    return page


def _troubles(page: dict[str, Any]) -> list[str]:
    return [f"{f['cause']}: {f['text']}" for f in page["findings"] if f["verdict"] in ("warn", "fail")]


def _case(fault: Fault) -> Case:
    def run(stage: Stage, *rest: object) -> Evidence:
        return examined(fault, stage, *rest)

    run.__doc__ = f"The doctor names {fault.cause!r}."
    return Case(f"doctor:{fault.name}", run)


def cases(*faults: Fault) -> list[Case]:
    """A healthy kiosk, these faults, and a healthy kiosk again."""
    return [Case("doctor", healthy), *map(_case, faults), Case("doctor:none", healthy)]


BY_NAME = {fault.name: fault for fault in (*ANYWHERE, *CONTAINER, *PI)}
