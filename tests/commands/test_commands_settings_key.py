"""The settings key: what may be asked for with it, and what becomes of the rest."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from lab.injections import INJECTIONS, ONLY_HERE

from kioskd.commands import config, config_shell, config_verb, doctor, options, secret, status
from kioskd.config import secrets
from kioskd.config.schema import Endpoint, KeySource, Settings
from kioskd.config.secrets import KeyUnavailable, read_key, take_keys_of
from kioskd.config.sound_names import trouble_with
from kioskd.config.tool_schema import Action, BuiltIn, ToolRunner, Tools
from kioskd.settings_change.beyond import beyond_the_key
from kioskd.settings_key import TABLE, RefusedError, admit, usage

ROOT = Path(__file__).parents[2]
GOOD = {
    "status": ("status",),
    "kioskd status --json": ("status", "--json"),
    "sudo kioskd config get audio.volume": ("config", "get", "audio.volume"),
    "config get endpoints[0].voice --json": ("config", "get", "--json", "endpoints[0].voice"),
    "config set audio.volume=40 conversation.language=de": (
        "config", "set", "audio.volume=40", "conversation.language=de",
    ),
    "config set 'conversation.instructions=Say \"hello\"; then $5 (net).'": (
        "config", "set", 'conversation.instructions=Say "hello"; then $5 (net).',
    ),
    "config set 'conversation.instructions=Grüß Gott'": ("config", "set", "conversation.instructions=Grüß Gott"),
    "config set audio.night=": ("config", "set", "audio.night="),
    "config set endpoints.lab.url=wss://host/v1?model=a": (
        "config", "set", "endpoints.lab.url=wss://host/v1?model=a",
    ),
    "config apply - --confirm --probation 2m": ("config", "apply", "--confirm", "--probation=2m", "-"),
    "config apply --probation=0.5m --probe -": ("config", "apply", "--probation=0.5m", "--probe", "-"),
    "config diff -": ("config", "diff", "-"),
    "config check": ("config", "check"),
    "config rollback 12": ("config", "rollback", "12"),
    "config rollback": ("config", "rollback"),
    "secret set api-key": ("secret", "set", "api-key"),
    "doctor --quiet --json": ("doctor", "--quiet", "--json"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "words"), GOOD.items())
def test_what_the_key_is_for_is_let_through(command: str, words: tuple[str, ...]) -> None:
    assert admit(command) == words


@pytest.mark.parametrize("name", [*INJECTIONS, *ONLY_HERE])
def test_all_else_is_refused_with_what_works_instead(name: str) -> None:
    with pytest.raises(RefusedError) as raised:
        admit({**INJECTIONS, **ONLY_HERE}[name])
    said = str(raised.value)
    assert "not with this key: " in said and "config set" in said and "secret set" in said
    assert all(line.isprintable() for line in said.splitlines()) and len(said) < 2000


def test_there_are_fifty_of_them_and_more() -> None:
    assert len(set(INJECTIONS.values())) >= 50


def test_every_line_of_the_table_is_a_command_that_there_is() -> None:
    """What is let through is understood as it was meant: each option by its whole name, each word as a word."""
    commands = {"config": config, "doctor": doctor, "secret": secret, "status": status}
    parser = argparse.ArgumentParser(allow_abbrev=False)
    subparsers = parser.add_subparsers(required=True)
    for name, module in commands.items():
        module.add_arguments(subparsers.add_parser(name))
    for name, verb in TABLE.items():
        word = {"KEY=VALUE": "audio.volume=4", "VERSION": "3", "": ""}.get(verb.usage, verb.usage.lower())
        values = [f"{option} 30s" for option in verb.values]
        words = admit(" ".join([*name, *verb.options, *values, word]))
        found = vars(parser.parse_args(words))
        for option in verb.options:
            assert found[option.removeprefix("--")] is True, (name, option)
        assert found.get("probation", 30.0) == 30.0
        for path in ("config", "store", "socket"):
            assert found.get(path) in (None, Path("/etc/kioskd/kioskd.yaml"))
    assert len(usage()) == len(TABLE)


@given(st.text(max_size=200))
def test_any_text_is_let_through_by_the_table_alone_or_refused(text: str) -> None:
    for command in (text, f"config set audio.volume={text}", f"config {text}", f"secret set {text}"):
        try:
            words = admit(command)
        except RefusedError:
            continue
        verb = TABLE.get(words[:2]) or TABLE[words[:1]]
        for word in words[2 if words[:2] in TABLE else 1 :]:
            option, _, value = word.partition("=")
            if option.startswith("-") and word != "-":
                assert option in verb.options or verb.values[option].fullmatch(value)
            else:
                assert verb.word is not None and verb.word.fullmatch(word)


# The two sides


def kioskd(side: str, command: str | None, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "SUDO_"))}
    if command is not None:
        environment["SSH_ORIGINAL_COMMAND"] = command
    return subprocess.run(
        [sys.executable, "-m", "kioskd", side], capture_output=True, text=True, cwd=ROOT, env={**environment, **more},
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("side", ["config-shell", "config-verb"])
@pytest.mark.parametrize("command", [None, "sh", INJECTIONS["another file, with ="]])
def test_both_sides_refuse_with_exit_code_2(side: str, command: str | None) -> None:
    done = kioskd(side, command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "What works with it:" in done.stderr and "Traceback" not in done.stderr


def test_it_goes_to_root_by_one_command_without_arguments_and_with_two_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []

    def execve(*what: object) -> None:
        seen.extend(what)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "config set audio.volume=40")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 1 192.0.2.8 22")
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    assert config_shell.run(argparse.Namespace()) == 1
    assert seen == [
        "/usr/bin/sudo",
        ["/usr/bin/sudo", "-n", "--", "/opt/kioskd/bin/kioskd", "config-verb"],
        {"SSH_ORIGINAL_COMMAND": "config set audio.volume=40", "SSH_CONNECTION": "192.0.2.7 1 192.0.2.8 22"},
    ]
    rule = (ROOT / "systemd/sudoers.d/kioskd-admin").read_text().splitlines()[-1]
    assert rule.endswith(f"NOSETENV: {config_shell.PROGRAM} {config_shell.ROOTS_SIDE}")


def test_root_s_side_works_for_root_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "config schema")
    assert config_verb.run(argparse.Namespace()) == 1
    assert "only root" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root's")
def test_root_s_side_does_what_is_asked_for() -> None:
    done = kioskd("config-verb", "kioskd config schema", SUDO_USER="kioskd-admin")
    assert done.returncode == 0 and '"properties"' in done.stdout


# What root must not do for whoever may change the settings


@pytest.mark.skipif(os.geteuid() != 0, reason="root could read any file")
def test_a_file_of_root_s_is_no_key_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("root-s-own-secret")
    file.chmod(0o600)
    source = KeySource(file=str(file))
    monkeypatch.setattr(secrets, "_owners", None)
    assert read_key(source, {}) == "root-s-own-secret"
    take_keys_of(4711)
    with pytest.raises(KeyUnavailable, match="isn't the kiosk's"):
        read_key(source, {})
    os.chown(file, 4711, 4711)
    assert read_key(source, {}) == "root-s-own-secret"
    take_keys_of(None)
    with pytest.raises(KeyUnavailable):
        read_key(source, {})


@pytest.mark.parametrize(
    "name",
    ["file:/etc/cron.d/x,raw", "file:'|touch /tmp/x',raw", "tee:null,x,raw", "plug:file", "plug:SLAVE=tee",
     "plug:'file:x,raw'", "plug:{type file}", "../x", "a\nb", "", "x" * 300, "pcm.file:pwned,raw",
     "plug:pcm.file:x", "pcm.tee:null,x,raw", "plug:SLAVE=pcm.tee", "file.", "file:pwned,raw"],
)  # fmt: skip
def test_a_sound_device_that_writes_files_is_none(name: str) -> None:
    assert trouble_with(name)


@pytest.mark.parametrize(
    "name",
    ["default", "auto", "plughw:CARD=Device,DEV=0", "plughw:CARD=Loopback,DEV=1,SUBDEV=1", "hw:0,0", "pulse:kiosk_mic",
     "pulse:alsa_input.usb-046d_HD_Pro_Webcam_C920-02.analog-stereo", "bluealsa:DEV=00:11:22:33:44:55,PROFILE=a2dp",
     "mic", "sysdefault:CARD=vc4hdmi", "pulse:profile.file-server", "pulse:alsa_input.usb-046d_profile-00.mono",
     "pulse:tee_room"],
)  # fmt: skip
def test_the_names_of_devices_are_names(name: str) -> None:
    assert trouble_with(name) == ""


ACTION = Action("lights", "Turns the lights on.", ("/usr/local/bin/lights",))


ANYTHING = {"type": "object"}


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        (Tools(actions=(ACTION, evolve(ACTION, name="shell", command=("/bin/sh", "-c", "id")))), "tools.actions:"),
        (Tools(actions=(evolve(ACTION, command=("/bin/sh",)),)), "tools.actions:"),
        (Tools(actions=(evolve(ACTION, network=True),)), "tools.actions:"),
        (Tools(actions=()), "tools.actions:"),
        (Tools(actions=(ACTION,), runner=ToolRunner.CHILD), "tools.runner:"),
        (Tools(actions=(ACTION,), answer_action="lights"), "tools.answer_action:"),
        (Tools(actions=(ACTION,), answer_schema=ANYTHING), "tools.answer_schema:"),
        (
            Tools(actions=(ACTION,), answer_schema=ANYTHING, answer_action="lights"),
            "tools.answer_schema, tools.answer_action:",
        ),
    ],
)
def test_which_programs_run_and_with_what_is_not_for_the_key(tools: Tools, names: str) -> None:
    settings = Settings((Endpoint("a", "wss://a/", "m"),), tools=Tools(actions=(ACTION,)))
    assert f"not with this key: {names} " in beyond_the_key(settings, evolve(settings, tools=tools))
    assert beyond_the_key(settings, evolve(settings, tools=Tools((BuiltIn.SET_VOLUME,), (ACTION,)))) == ""
    assert beyond_the_key(None, settings) and not beyond_the_key(None, evolve(settings, tools=Tools()))


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root's")
def test_root_s_side_refuses_a_program_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "kioskd.yaml"
    text = 'endpoints: [{name: a, url: "ws://127.0.0.1:9/v1", model: m, key: {environment: NONE}}]\n'
    settings.write_text(text)
    new = text + "tools: {actions: [{name: x, description: d, command: [/bin/sh]}]}\n"
    monkeypatch.setattr(options, "DEFAULT_CONFIG", settings)
    for name in ("SSH_CONNECTION", "PATH", "SUDO_USER"):
        monkeypatch.setenv(name, os.environ.get(name, "x"))
    monkeypatch.setattr(os, "environ", dict(os.environ))  # it makes one of its own
    monkeypatch.chdir(tmp_path)  # it goes elsewhere
    monkeypatch.setattr(secrets, "_owners", None)
    os.environ["SSH_ORIGINAL_COMMAND"] = "config apply - --anyway"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(new.encode())))
    assert config_verb.run(argparse.Namespace()) == 1
    assert "not with this key: tools.actions" in capsys.readouterr().err
    assert settings.read_text() == text
    assert Path.cwd() == Path("/"), "no bare name is a file of theirs"
