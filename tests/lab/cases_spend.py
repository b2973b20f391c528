"""A cap on what answers may cost, under real systemd: the site's own answers take over, and the owner learns why."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab import hearing
from lab.report import Case, Evidence, expect
from lab.shell import until
from lab.stage import Stage, settings_text, write_settings

CAP = 0.01
MORE_ENDPOINTS = """\
    prices: {currency: USD, text_input: 1000, audio_input: 1000, text_output: 1000, audio_output: 1000}
  - name: site
    kind: local
    faq: /opt/kioskd/share/kioskd/demo-faq.yaml
"""


def moves_at_a_cap(turn: Callable[[Stage], Evidence], ask: Callable[[Stage, str], None], stage: Stage) -> Evidence:
    """At a cap of 1 cent the site's own answers take over, without a network; `kioskd spend` says why."""
    machine = stage.machine
    text = settings_text(stage).replace("audio:\n", f"{MORE_ENDPOINTS}audio:\n")
    machine.put(f"{text}spend: {{caps: {{hour: {CAP}}}}}\n", "/etc/kioskd/kioskd.yaml")
    try:
        machine.run("kioskd check /etc/kioskd/kioskd.yaml && systemctl reload kioskd", timeout=90)
        until("the price is known", lambda: "site" in machine.run("kioskd status --json", check=False), 30)
        turn(stage)
        begun = time.monotonic()
        until("the site's own answers serve", lambda: _serving(stage) == "site", 60, every=0.5)
        moved_s = round(time.monotonic() - begun, 1)
        asked = stage.heard()
        with hearing.listening(stage, stage.out / "site.raw") as ear:
            ask(stage, "hours")
            until("answered", lambda: machine.look("status").get("state") == "speaking", 60, every=0.1)
            until("ready again", lambda: machine.look("status").get("state") == "ready", 90, every=0.3)
            time.sleep(0.5)
        name = hearing.recognised(hearing.loud_part(ear.pcm))
        expect(name == "hours", f"the site's own answer is {name or 'none'}")
        expect(stage.heard() == asked, "the endpoint behind the cap was asked again")
        page = machine.run("kioskd spend", timeout=60)
        expect("lab is left: spend cap reached" in page, f"kioskd spend doesn't say why: {page}")
        return {"moved_s": moved_s, "recognised": hearing.SENTENCES[name], "page": page.splitlines()}
    finally:
        write_settings(stage)
        machine.run("rm -rf /var/lib/kioskd/spend*; systemctl restart kioskd", timeout=90)
        stage.healthy(60)


def _serving(stage: Stage) -> str:
    link = stage.machine.look("status").get("link", {})
    return str(link.get("endpoint", ""))


def cases(turn: Callable[[Stage], Evidence], ask: Callable[[Stage, str], None]) -> list[Case]:
    """`turn` asks a question and hears the answer; `ask` only asks."""

    def run(stage: Stage) -> Evidence:
        return moves_at_a_cap(turn, ask, stage)

    run.__doc__ = moves_at_a_cap.__doc__
    return [Case("spend-cap", run)]
