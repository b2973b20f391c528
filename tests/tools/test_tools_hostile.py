"""Fifty hostile calls, through the daemon's side and through the helper that runs commands."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from attrs import asdict
from hostile import HARMLESS, REFUSED
from tool_parts import COUNT, TEXT, Trace, call, toolbox

from kioskd.config.load import SettingsError, load
from kioskd.tools import command, helper
from kioskd.tools.arguments import MAX_VALUES
from kioskd.tools.command import MAX_OUTPUT_BYTES, NotStartedError
from kioskd.tools.toolbox import CALLS_MAX

FREE = {"type": "object"}


def declared(trace):
    return [trace.action("note", TEXT), trace.action("count", COUNT), trace.action("free", FREE)]


def settings(folder, *actions, **fields):
    """A settings file of root's with these actions."""
    listed = [asdict(action) | {"command": list(action.command)} for action in actions]
    path = folder / "kioskd.yaml"
    endpoint = {"name": "a", "url": "wss://a/", "model": "m"}
    path.write_text(json.dumps({"endpoints": [endpoint], "tools": {"actions": listed, **fields}}))
    return path


def test_there_are_fifty():
    assert len(REFUSED) + len(HARMLESS) + 6 >= 50  # and those that run: slow, huge, a bomb, ...


@pytest.mark.parametrize("case", REFUSED)
async def test_it_is_refused_in_one_line_and_nothing_runs(case, tmp_path, caplog):
    name, text = REFUSED[case]
    trace = Trace(tmp_path)
    result = json.loads(await toolbox(*declared(trace)).call(7, call(name, text)))
    assert set(result) == {"error"} and len(result["error"]) < 300
    assert trace.runs == []
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("turn 7: refused: ") and line.isprintable() and len(line) < 400


@pytest.mark.parametrize("case", HARMLESS)
async def test_what_fits_is_only_text_to_the_declared_command(case, tmp_path):
    name, given = HARMLESS[case]
    trace = Trace(tmp_path)
    actions = declared(trace)
    result = json.loads(await toolbox(*actions).call(7, call(name, given)))
    assert result == {"result": {"done": True}}
    (run,) = trace.runs
    assert run["argv"] == list(actions[0].command[2:]), "the argv of the settings, and nothing of the model's"
    assert run["stdin"].count("\n") == 1 and json.loads(run["stdin"]) == given
    assert run["cwd"] == "/"
    assert set(run["env"]) <= {"HOME", "KIOSKD_TOOL", "LANG", "LC_CTYPE", "PATH"}
    assert not Path("/tmp/owned").exists()


def ask(path, request, network=False):
    """The reply of the helper to raw bytes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        served = threading.Thread(target=helper.serve, args=(theirs, path), kwargs={"network": network})
        served.start()
        ours.sendall(request)
        ours.shutdown(socket.SHUT_WR)
        served.join()
        return json.loads(ours.makefile().readline())


@pytest.mark.parametrize("case", REFUSED)
def test_the_helper_trusts_nobody_either(case, tmp_path):
    name, text = REFUSED[case]
    trace = Trace(tmp_path)
    path = settings(tmp_path, *declared(trace))
    request = b'{"name":' + json.dumps(name).encode() + b',"arguments":' + (text or "{}").encode() + b"}\n"
    if len(request) > 100_000:  # it stops reading: a daemon of ours would never have sent it
        with pytest.raises(NotStartedError):
            helper.answer(request, path, network=False)
    else:
        reply = ask(path, request)
        assert reply["ok"] is False
        words = reply.get("error") or reply["refused"]
        assert words and "settings" not in words.replace("no such action in the settings", "")
    assert trace.runs == []


def test_refused_arguments_are_told_in_words_for_the_model_and_for_the_log(tmp_path):
    path = settings(tmp_path, Trace(tmp_path).action("count", COUNT))
    reply = ask(path, b'{"name":"count","arguments":{"n":11}}\n')
    assert reply == {"ok": False, "refused": "n: 11 is greater than the maximum of 10", "place": "n: maximum"}


def test_as_many_values_as_the_daemon_lets_through_run(tmp_path):
    path = settings(tmp_path, Trace(tmp_path).action("free", FREE))
    most = {"a": [0] * (MAX_VALUES - 1)}
    assert ask(path, json.dumps({"name": "free", "arguments": most}).encode() + b"\n")["ok"] is True


def test_files_that_the_helper_does_not_use_are_not_its_concern(tmp_path):
    path = settings(tmp_path, Trace(tmp_path).action("note", TEXT))
    named = json.loads(path.read_text())
    named["endpoints"] = [
        {"name": "a", "url": "wss://a/", "model": "m", "extra_ca": str(tmp_path / "ca.pem")},
        {"name": "b", "kind": "local", "faq": str(tmp_path / "faq.yaml")},
        {
            "name": "c",
            "kind": "chat",
            "url": "https://c/v1",
            "model": "m",
            "hearing": {"by": "local", "grammar": str(tmp_path / "faq.yaml")},
        },
    ]
    path.write_text(json.dumps(named))
    with pytest.raises(SettingsError, match="no such file"):
        load(path)
    assert ask(path, b'{"name":"note","arguments":{"text":"hello"}}\n')["ok"] is True


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"name": "note"}\n',
        b'{"name": "note", "arguments": {"text": "x"}, "command": ["/bin/sh"]}\n',
        b'{"name": ["note"], "arguments": {"text": "x"}}\n',
        b'{"name": "note", "arguments": "{}"}\n',
        b'{"name": "note", "arguments": {"text": "x"}} {"name": "count"}\n',
        b"\xff\xfe\n",
        b'{"name": "note", "arguments": {"text": "x"}}',
    ],
)
def test_a_request_that_is_none(request_, tmp_path):
    trace = Trace(tmp_path)
    assert ask(settings(tmp_path, *declared(trace)), request_)["ok"] is False
    assert trace.runs == []


def test_the_helper_runs_what_root_declared(tmp_path):
    trace = Trace(tmp_path)
    path = settings(tmp_path, *declared(trace))
    reply = ask(path, b'{"name":"note","arguments":{"text":"hello"}}\n')
    assert reply == {"ok": True, "code": 0, "output": '{"done": true}\n', "truncated": False, "timed_out": False}
    assert [json.loads(run["stdin"]) for run in trace.runs] == [{"text": "hello"}]


@pytest.mark.parametrize("network", [True, False])
def test_each_action_runs_only_where_it_belongs(network, tmp_path):
    trace = Trace(tmp_path)
    path = settings(tmp_path, trace.action("note", TEXT, network=network))
    request = b'{"name":"note","arguments":{"text":"hello"}}\n'
    assert ask(path, request, network=not network)["ok"] is False
    assert trace.runs == []
    assert ask(path, request, network=network)["ok"] is True


def test_settings_that_are_wrong_run_nothing(tmp_path):
    path = tmp_path / "kioskd.yaml"
    path.write_text("tools: {")
    assert ask(path, b'{"name":"note","arguments":{"text":"hello"}}\n')["ok"] is False


# Commands that go wrong: these do run


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    trace = Trace(tmp_path)
    then = f"""
import subprocess, time
child = subprocess.Popen(["sleep", "300"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(300)
"""
    ran = command.run(trace.action("slow", then=then, longest_s=1.5), "{}")
    assert ran.timed_out and ran.code == -9
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_command_that_ends_and_leaves_one_behind(tmp_path):
    trace = Trace(tmp_path)
    then = f"""
import subprocess
child = subprocess.Popen(["sleep", "300"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
print("bye")
"""
    ran = command.run(trace.action("leaves", then=then, longest_s=30), "{}")
    assert (ran.code, ran.output, ran.timed_out) == (0, "bye\n", False)
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_small_fork_bomb_ends_with_its_group(tmp_path):
    trace = Trace(tmp_path)
    then = """
import time
for _ in range(4):
    os.fork()
time.sleep(300)
"""
    assert command.run(trace.action("bomb", then=then, longest_s=1.5), "{}").timed_out


@pytest.mark.parametrize("size", [MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES + 1, 50_000_000])
def test_what_is_printed_too_much_is_thrown_away(size, tmp_path):
    trace = Trace(tmp_path)
    ran = command.run(trace.action("huge", then=f"sys.stdout.write('x' * {size})", longest_s=30), "{}")
    assert ran.output == "x" * MAX_OUTPUT_BYTES
    assert ran.truncated is (size > MAX_OUTPUT_BYTES)
    assert ran.code == 0


def test_output_that_is_no_text(tmp_path):
    trace = Trace(tmp_path)
    then = "sys.stdout.buffer.write(b'\\xff\\x00\\xfe')"
    assert command.run(trace.action("noise", then=then), "{}").output == "\ufffd\0\ufffd"


def test_a_program_that_is_not_there_was_not_started():
    from kioskd.config.tool_schema import Action

    for program in ("/nowhere/at-all", "/etc/hostname", "/"):
        with pytest.raises(NotStartedError):
            command.run(Action("gone", "", (program,)), "{}")


async def test_a_model_that_calls_on_and_on_is_stopped(tmp_path):
    trace = Trace(tmp_path)
    box = toolbox(trace.action("count", COUNT, side_effects=False))
    results = [json.loads(await box.call(1, call("count", {"n": 3}))) for _ in range(CALLS_MAX + 3)]
    assert [next(iter(result)) for result in results] == ["result"] * CALLS_MAX + ["error"] * 3
    assert len(trace.runs) == CALLS_MAX


def is_gone(pid):
    """Ended, if perhaps not yet collected by whoever adopted it."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False
