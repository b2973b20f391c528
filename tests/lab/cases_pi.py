"""The whole virtual Pi: a kernel's own ALSA, a GPIO chip, a watchdog device; and every fault that it can be given."""

from __future__ import annotations

import time

from kioskd.audio.wav import read_wav
from lab import cases_doctor, cases_pi_power, faults, hearing
from lab.pi import Pi, plug_in
from lab.report import Case, Evidence, Report, expect
from lab.shell import CommandError, until
from lab.stage import Stage, install

NETWORK_DOWN_S = 12
HEARD_WITHIN_MS = 10.0


def installed(stage: Stage, pi: Pi) -> Evidence:
    """scripts/install --wheelhouse --appliance, run inside it."""
    # Each package takes seconds there: only those that the kiosk of this stage uses.
    return install(stage, "--appliance", "--extras", "http")


def absent_at_boot(stage: Stage, pi: Pi) -> Evidence:
    """No sound card at the start: faults and no restart; plugged in, the kiosk takes it by itself."""
    until("up", lambda: stage.machine.look("status").get("health") == "degraded", 60, every=0.5)
    status, pid = stage.machine.look("status"), stage.machine.pid()
    begun = time.monotonic()
    plug_in(stage)
    seconds = faults.recovery(stage, begun)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    return {"recovery_s": seconds, "said": status.get("troubles")}


def whole_turn(stage: Stage, pi: Pi) -> Evidence:
    """The button's line is pulled down, a question played into the loopback; the answer is recorded and recognised."""
    return _turn(stage, "turn")


def barge_in(stage: Stage, pi: Pi) -> Evidence:
    """Presses break into five answers: what the kiosk says was heard agrees with the recording."""
    seen = [_broken_off(stage, number, question) for number, question in enumerate(["/lab/hours.wav", *["-"] * 4])]
    apart = sorted(one["apart_ms"] for one in seen)
    evidence = {"median_ms": apart[len(apart) // 2], "worst_ms": apart[-1], "each": seen}
    expect(apart[-1] <= HEARD_WITHIN_MS, f"what was heard and what was recorded are {apart[-1]} ms apart: {evidence}")
    return evidence


def _broken_off(stage: Stage, number: int, question: str) -> Evidence:
    """One answer that is broken off; how far apart what was told and what was recorded are, in ms."""
    before = len(stage.simulator.events("interrupt"))
    known = set(stage.simulator.record.glob("sent-*.wav"))
    with hearing.listening(stage, stage.out / f"barge-in-{number}.raw") as ear:
        seen = stage.machine.look("ask", "/lab/story.wav", 40, question, timeout=180)
        time.sleep(1)
    interrupts = stage.simulator.events("interrupt")[before:]
    expect(len(interrupts) == 1, f"{len(interrupts)} interrupts reached the endpoint; {seen['marks']}")
    first = sorted(set(stage.simulator.record.glob("sent-*.wav")) - known, key=lambda path: path.stat().st_mtime)[0]
    told = interrupts[0]["audio_end_ms"]
    low, high = hearing.heard_of(read_wav(first, hearing.LONGEST_S), ear.pcm, told)
    apart = round(max(low - told, told - high, 0.0), 1)
    return {"heard_ms": told, "recorded_ms": [round(low), round(high)], "apart_ms": apart}


def card_unbound(stage: Stage, pi: Pi) -> Evidence:
    """The sound card is pulled out while in use, and put back."""
    pid = stage.machine.pid()
    driver = "/sys/bus/platform/drivers/snd_aloop"
    stage.machine.run("systemctl stop lab-room")
    stage.machine.run(f"timeout 40 sh -c 'echo snd_aloop.0 >{driver}/unbind'", timeout=60)
    status = stage.unhealthy(30)
    time.sleep(3)
    begun = time.monotonic()
    stage.machine.run(f"echo snd_aloop.0 >{driver}/bind; systemctl restart lab-room")
    seconds = faults.recovery(stage, begun)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    return {"recovery_s": seconds, "said": status.get("troubles")}


def network_down(stage: Stage, pi: Pi) -> Evidence:
    """The interface goes down for some seconds; the link is up again by itself."""
    pid = stage.machine.pid()
    down = f"ip link set eth0 down; sleep {NETWORK_DOWN_S}; ip link set eth0 up; ip route replace default via 10.0.2.2"
    begun = time.monotonic()
    stage.machine.run(f"systemd-run -q --unit lab-net --collect sh -c '{down}'", timeout=20)
    time.sleep(NETWORK_DOWN_S + 0.5)
    stage.machine.wait_for_ssh(60)
    stage.healthy(90)
    seconds = round(time.monotonic() - begun - NETWORK_DOWN_S, 1)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    journal = [line for line in stage.machine.journal(12).splitlines() if "link" in line or "connect" in line]
    return {"recovery_s": seconds, "said": journal[-3:]}


def bad_network(stage: Stage, pi: Pi) -> Evidence:
    """150 ms of delay that varies and 3 % of loss: a question is still answered, whole."""
    stage.machine.run("tc qdisc replace dev eth0 root netem delay 150ms 30ms loss 3%")
    try:
        return _turn(stage, "netem")
    finally:
        stage.machine.run("tc qdisc del dev eth0 root", timeout=60, check=False)


def disk_full(stage: Stage, pi: Pi) -> Evidence:
    """No byte is left on the disk: a question is answered, and a restart succeeds."""
    # fallocate takes what everybody may use, dd the rest, which is kept for root.
    fill = (
        "fallocate -l $(df --output=avail -B1 / | tail -1) /fill; dd if=/dev/zero of=/fill.root bs=1M status=none;"
        " df --output=avail / | tail -1"
    )
    left = stage.machine.run(fill, timeout=180, check=False).strip()
    try:
        evidence = _turn(stage, "disk-full")
        begun = time.monotonic()
        stage.machine.run("systemctl restart kioskd", timeout=120)
        return {"recovery_s": faults.recovery(stage, begun), "free_kb": left, "recognised": evidence["recognised"]}
    finally:
        stage.machine.run("rm -f /fill /fill.root", timeout=60)


def wrong_clock(stage: Stage, pi: Pi) -> Evidence:
    """The clock jumps a year ahead and back: nothing restarts, a question is answered."""
    pid = stage.machine.pid()
    stage.machine.run("date -s '+1 year'")
    try:
        begun = time.monotonic()
        time.sleep(2)
        seconds = faults.recovery(stage, begun)
        evidence = _turn(stage, "clock")
    finally:
        stage.machine.run("date -s '-1 year'", check=False)
    time.sleep(2)
    stage.healthy(30)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    return {"recovery_s": seconds, "recognised": evidence["recognised"]}


def read_only(stage: Stage, pi: Pi) -> Evidence:
    """The root is read-only, /var too: the kiosk starts and answers."""
    stage.machine.run("sync; mount -o remount,ro /", timeout=60, check=False)
    mode = stage.machine.run("findmnt -n -o OPTIONS /").strip()
    if not mode.startswith("ro"):  # somebody has a file open: then as the kernel does when a card fails
        stage.machine.run("echo 1 >/proc/sys/kernel/sysrq; echo u >/proc/sysrq-trigger; sleep 2", check=False)
        mode = stage.machine.run("findmnt -n -o OPTIONS /").strip()
    try:
        expect(mode.startswith("ro"), f"the root could not be made read-only: {mode}")
        begun = time.monotonic()
        stage.machine.run("systemctl restart kioskd", timeout=120)
        seconds = faults.recovery(stage, begun)
        return {"recovery_s": seconds, "recognised": _turn(stage, "read-only")["recognised"]}
    finally:
        stage.machine.run("mount -o remount,rw /", check=False)


def plug_pulled(stage: Stage, pi: Pi) -> Evidence:
    """The power fails: the machine boots again, and the kiosk is up without anybody's help."""
    stage.machine.run("sync")
    pi.pull_the_plug()
    begun = time.monotonic()
    boot = pi.boot()
    plug_in(stage)
    seconds = faults.recovery(stage, begun, 150)
    return {
        "recovery_s": seconds,
        "boot_s": round(boot, 1),
        "recognised": _turn(stage, "after-power-cut")["recognised"],
    }


def watchdog_device(stage: Stage, pi: Pi) -> Evidence:
    """The hardware watchdog is armed by systemd, as --appliance wants it."""
    shown = stage.machine.run("systemctl show -p RuntimeWatchdogUSec; cat /sys/class/watchdog/watchdog0/state").split()
    expect(shown[0] not in ("RuntimeWatchdogUSec=0", "RuntimeWatchdogUSec=infinity"), f"it is off: {shown}")
    expect(shown[-1] == "active", f"the device is {shown[-1]}")
    return {"shown": shown}


def stopped(stage: Stage, pi: Pi) -> Evidence:
    """SIGTERM while it speaks: the lamp goes out."""
    ask = "systemd-run -q --unit lab-ask --collect python3 -I -S /lab/inside.py ask /lab/story.wav 20"

    def check() -> None:
        seen = stage.machine.look("lamp", 0.5)["changes"]
        expect([value for _, value in seen] == [0], f"the lamp of a stopped kiosk: {seen}")

    evidence = faults.stopped_in_mid_answer(stage, lambda: stage.machine.run(ask), check)
    stage.machine.run("systemctl stop lab-ask", check=False)
    return evidence


def _turn(stage: Stage, name: str) -> Evidence:
    before = stage.heard()
    with hearing.listening(stage, stage.out / f"{name}.raw") as ear:
        seen = stage.machine.look("ask", "/lab/hours.wav", 60, timeout=180)
        time.sleep(0.5)
    expect(stage.heard() > before, f"the endpoint did not understand the question; {seen['marks']}")
    sentence = hearing.recognised(hearing.loud_part(ear.pcm))
    expect(sentence == "hours", f"the recognised answer is {sentence or 'none'}; {seen['marks']}")
    lit = [value for _, value in seen["lamp"]]
    expect(lit[0] == 1 and lit[-1] == 1 and 0 in lit, f"the lamp: {seen['lamp']}")
    return {"recognised": hearing.SENTENCES[sentence], "marks": seen["marks"], "lamp_changes": len(lit)}


def _plain(case: Case) -> Case:
    """A case that knows nothing of the power switch."""
    run = case.run

    def wrapped(stage: Stage, pi: Pi) -> Evidence:
        return run(stage)

    wrapped.__doc__ = run.__doc__
    return Case(case.name, wrapped)


CASES = [
    Case("install", installed),
    Case("card-absent-at-boot", absent_at_boot),
    _plain(Case("ready", faults.ready)),
    Case("turn", whole_turn),
    Case("barge-in", barge_in),
    Case("watchdog-device", watchdog_device),
    *map(_plain, cases_doctor.cases(*cases_doctor.PI)),
    Case("card-unbound", card_unbound),
    _plain(Case("endpoint-gone", faults.endpoint_gone)),
    Case("network-down", network_down),
    Case("netem", bad_network),
    _plain(Case("kill-9", faults.killed)),
    _plain(Case("watchdog", faults.frozen)),
    Case("stop-in-answer", stopped),
    Case("clock-a-year-wrong", wrong_clock),
    Case("disk-full", disk_full),
    Case("read-only-root", read_only),
    Case("power-cut", plug_pulled),
    Case("power-cuts", cases_pi_power.power_cuts),
]
NEEDED = frozenset({"install", "card-absent-at-boot", "ready"})


def perform(stage: Stage, pi: Pi, report: Report) -> None:
    """All of them, in this order; none after an installation that failed."""
    for case in CASES:
        done = report.perform(stage.name, case, stage, pi, needed=case.name in NEEDED)
        if not done and case.name in NEEDED:
            return
        if not done:
            try:
                faults.settle(stage)
            except CommandError:
                return
