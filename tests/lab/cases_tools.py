"""Actions of the settings under the real unit: what runs, as whom, within which walls, and what does not."""

from __future__ import annotations

import json
from typing import Any

from lab.injections import INJECTIONS, PWNED
from lab.report import Case, Evidence, expect
from lab.shell import until
from lab.stage import Stage, write_settings

SOCKETS = ("/run/kioskd-tool.sock", "/run/kioskd-tool-net.sock")
PYTHON = ["/usr/bin/python3", "-I"]
FOLDER = "/usr/local/lib/lab-actions"
LOOK = """
import json, os, sys
def may(path, flags=os.O_RDONLY):
    try: os.close(os.open(path, flags)); return True
    except OSError: return False
print(json.dumps({"uid": os.getuid(), "given": sys.stdin.read(), "argv": sys.argv[1:],
    "interfaces": sorted(line.split(":")[0].strip() for line in open("/proc/self/net/dev") if ":" in line),
    "environment": sorted(os.environ), "shadow": may("/etc/shadow"),
    "key": may("/etc/credstore/kioskd-api-key"), "state": may("/var/lib/kioskd"),
    "writes_etc": may("/etc/owned", os.O_CREAT | os.O_WRONLY), "control": may("/run/kioskd"),
    "groups": os.getgroups()}))
"""
BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
HOG = "x = []\nwhile True: x.append(bytearray(10_000_000))\n"

ACTIONS = [
    {"name": "look", "description": "Looks about.", "command": [*PYTHON, f"{FOLDER}/look.py", "--own"]},
    {"name": "bomb", "description": "Forks.", "command": [*PYTHON, f"{FOLDER}/bomb.py"], "longest_s": 3},
    {"name": "hog", "description": "Eats memory.", "command": [*PYTHON, f"{FOLDER}/hog.py"], "longest_s": 9},
    {"name": "sleep", "description": "Sleeps.", "command": ["/bin/sleep", "60"], "longest_s": 2},
    {
        "name": "out",
        "description": "Asks the network.",
        "command": [*PYTHON, f"{FOLDER}/look.py", "--own"],
        "network": True,
    },
]
OPEN = {"type": "object", "additionalProperties": {"type": "string"}}

# The daemon's side of a call, as any user: prints what came back.
CLIENT = """
import socket, sys
line = socket.socket(socket.AF_UNIX)
line.settimeout(90)
line.connect(sys.argv[1])
line.sendall(sys.stdin.buffer.read())
line.shutdown(socket.SHUT_WR)
sys.stdout.write(line.makefile().read())
"""

HOSTILE = [
    {"name": "rm", "arguments": {}},
    {"name": "../look", "arguments": {}},
    {"name": "/bin/sh", "arguments": {}},
    {"name": "look\0", "arguments": {}},
    {"name": "look; id", "arguments": {}},
    {"name": "look", "arguments": {}, "command": ["/bin/sh"]},
    {"name": "look", "arguments": {"n": 1}},
    {"name": "look", "arguments": {"a": "\0"}},
    {"name": "look", "arguments": {"a": "x" * 20_000}},
    {"name": "out", "arguments": {}},
    *({"name": text, "arguments": {}} for text in list(INJECTIONS.values())[:40]),
]


def _call(stage: Stage, request: object, *, socket: str = SOCKETS[0], user: str = "kioskd") -> dict[str, Any]:
    command = f"runuser -u {user} -- python3 -I {FOLDER}/client.py {socket}"
    said = stage.machine.run(command, timeout=100, stdin=json.dumps(request) + "\n")
    reply: dict[str, Any] = json.loads(said) if said.strip() else {"ok": False, "error": "closed without a word"}
    return reply


def _units_left(stage: Stage) -> int:
    listed = stage.machine.run("systemctl list-units --no-legend --plain 'kioskd-tool@*' 'kioskd-tool-net@*'")
    return len(listed.split("\n")) if listed.strip() else 0


def tools(stage: Stage) -> Evidence:
    """Actions run in their own unit, and nothing but the declared command does."""
    machine = stage.machine
    actions = [{**action, "parameters": OPEN} for action in ACTIONS]
    for name, text in (("client", CLIENT), ("look", LOOK), ("bomb", BOMB), ("hog", HOG)):
        machine.put(text, f"{FOLDER}/{name}.py")
    write_settings(stage, extra=f"tools: {json.dumps({'actions': actions})}\n")
    try:
        machine.run("/opt/kioskd/bin/kioskd check /etc/kioskd/kioskd.yaml && systemctl reload kioskd", timeout=60)
        evidence = _walls(stage)
        for request in HOSTILE:
            reply = _call(stage, request)
            expect(reply["ok"] is False, f"{request!r:.80} was run: {reply!r:.200}")
        stranger = machine.run(
            f"runuser -u nobody -- python3 -I {FOLDER}/client.py {SOCKETS[0]} </dev/null 2>&1", check=False
        )
        expect("PermissionError" in stranger, f"nobody may ask: {stranger!r:.200}")
        slow = _call(stage, {"name": "sleep", "arguments": {}})
        expect(slow.get("timed_out") is True, f"a slow one went on: {slow!r:.200}")
        bomb = _call(stage, {"name": "bomb", "arguments": {}})
        hog = _call(stage, {"name": "hog", "arguments": {}})
        expect(hog.get("code", 1) != 0, f"a hog ended well: {hog!r:.200}")
        until("no unit is left", lambda: _units_left(stage) == 0, 60)
        expect(machine.run("test -e /etc/owned && echo yes || echo no").strip() == "no", "/etc was written to")
        expect(machine.run(f"test -e {PWNED} && echo yes || echo no").strip() == "no", "a name was run by a shell")
        stage.healthy(60)
        return {**evidence, "hostile": len(HOSTILE), "bomb": bomb, "hog": hog}
    finally:
        write_settings(stage)
        machine.run("systemctl reload kioskd", timeout=60)


def _walls(stage: Stage) -> Evidence:
    reply = _call(stage, {"name": "look", "arguments": {"a": "$(touch /etc/owned)"}})
    expect(reply.get("ok") and reply["code"] == 0, f"the action did not run: {reply!r:.300}")
    seen = json.loads(reply["output"])
    expect(seen["uid"] >= 61184, f"it ran as the user {seen['uid']}, not as one of its own")  # systemd's dynamic users
    expect(seen["argv"] == ["--own"] and json.loads(seen["given"]) == {"a": "$(touch /etc/owned)"}, f"{seen}")
    expect(seen["interfaces"] in ([], ["lo"]), f"it has a network: {seen['interfaces']}")
    open_doors = [name for name in ("shadow", "key", "state", "writes_etc", "control") if seen[name]]
    expect(not open_doors, f"it may use: {open_doors}")
    outside = _call(stage, {"name": "out", "arguments": {}}, socket=SOCKETS[1])
    expect(outside.get("ok"), f"one with a network did not run: {outside!r:.300}")
    return {"seen": seen, "with_network": json.loads(outside["output"])["interfaces"]}


CASES = [Case("tools", tools)]
