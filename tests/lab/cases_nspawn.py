"""The installed service under real systemd, with PulseAudio, on Debian 12 and 13."""

from __future__ import annotations

import time

from lab import cases_alive, cases_doctor, cases_spend, cases_tools, faults, hearing
from lab.report import Case, Evidence, Report, expect
from lab.shell import CommandError, until
from lab.stage import QUESTIONS, Stage, install


def installed(stage: Stage) -> Evidence:
    """scripts/install --wheelhouse, without a network of its own."""
    return install(stage)


def whole_turn(stage: Stage) -> Evidence:
    """kioskd press, a question into the microphone: understood, and the answer is heard on the speaker."""
    before = stage.heard()
    with hearing.listening(stage, stage.out / "turn.raw") as ear:
        _press_and_say(stage, "hours")
        until("understood", lambda: stage.heard() > before, 30)
        until("ready again", lambda: stage.machine.look("status").get("state") == "ready", 60, every=0.3)
        time.sleep(0.5)
    name = hearing.recognised(hearing.loud_part(ear.pcm))
    expect(name == "hours", f"the recognised answer is {name or 'none'}")
    last = stage.machine.look("status")["turns"]["last"]
    return {"question": QUESTIONS["hours"], "recognised": hearing.SENTENCES[name], "turn": last}


def sound_server_gone(stage: Stage) -> Evidence:
    """PulseAudio is killed and comes back: a fault, then healthy by itself, in the same process."""
    pid = stage.machine.pid()
    try:
        stage.machine.run("systemctl stop lab-pulse")
        status = stage.unhealthy(30)
    finally:
        begun = time.monotonic()
        stage.machine.run("systemctl start lab-pulse lab-room")
    seconds = faults.recovery(stage, begun)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    return {"recovery_s": seconds, "said": status.get("troubles")}


def sound_server_frozen(stage: Stage) -> Evidence:
    """PulseAudio is stopped: reads and writes hang in the kernel for ever; the kiosk restarts itself."""
    pid, count = stage.machine.pid(), faults.restarts(stage)
    server = stage.machine.shown("MainPID", unit="lab-pulse")["MainPID"]
    begun = time.monotonic()
    stage.machine.run(f"kill -STOP {server}")
    try:
        until("another process", lambda: faults.restarts(stage) > count, faults.WATCHDOG_PATIENCE_S, every=0.5)
        noticed = round(time.monotonic() - begun, 1)
        code = stage.machine.run(
            "journalctl -u kioskd -o cat --no-pager -n 60 | grep 'Main process exited'", check=False
        )
    finally:
        stage.machine.run(f"kill -CONT {server}")
    begun = time.monotonic()
    seconds = faults.recovery(stage, begun, 120)
    expect(stage.machine.pid() != pid, "it is the old process")
    return {"recovery_s": seconds, "exit_after_s": noticed, "exit": code.strip().splitlines()[-1:]}


def _press_and_say(stage: Stage, word: str, ms: int = 0) -> None:
    held = ms or 6000
    stage.machine.run(f"systemd-run -q --collect kioskd press --ms {held}", check=True)
    until("listening", lambda: stage.machine.look("status").get("state") == "listening", 20, every=0.1)
    stage.machine.look("say", f"/lab/{word}.wav")


def stopped(stage: Stage) -> Evidence:
    """SIGTERM while it speaks."""
    return faults.stopped_in_mid_answer(stage, lambda: _press_and_say(stage, "story"))


CASES = [
    Case("install", installed),
    Case("ready", faults.ready),
    Case("turn", whole_turn),
    Case("reload", faults.good_reload),
    Case("bad-reload", faults.bad_reload),
    Case("credential", faults.secret_is_kept),
    *cases_doctor.cases(*cases_doctor.ANYWHERE, *cases_doctor.CONTAINER),
    Case("doctor:pairs", cases_doctor.pairs),
    Case("endpoint-gone", faults.endpoint_gone),
    Case("sound-server-gone", sound_server_gone),
    Case("sound-server-frozen", sound_server_frozen),
    *cases_alive.HANGS,
    *cases_alive.survives(whole_turn),
    *cases_tools.CASES,
    *cases_spend.cases(whole_turn, _press_and_say),
    Case("kill-9", faults.killed),
    Case("kill-9-in-turn", faults.flight_of_a_killed_turn),
    Case("watchdog", faults.frozen),
    Case("stop-in-answer", stopped),
]
NEEDED = frozenset({"install", "ready"})


def perform(stage: Stage, report: Report) -> None:
    """All of them, in this order; none after an installation that failed."""
    for case in CASES:
        done = report.perform(stage.name, case, stage, needed=case.name in NEEDED)
        if not done and case.name in NEEDED:
            return
        if not done:
            try:
                faults.settle(stage)
            except CommandError:
                return
