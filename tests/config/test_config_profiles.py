"""Profiles: defaults that an endpoint's own lines go before, each of those that come with kioskd a good one."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kioskd.config import places
from kioskd.config.load import Problem, SettingsError, parse
from kioskd.config.profiles import names
from kioskd.config.schema import Auth, Dialect, Endpoint

ROOT = Path(__file__).parents[2]
COMPLETE = ["holysheep", "openai", "openai-audio", "openai-chat", "openai-responses"]
NEEDS = {  # what only the owner knows; of all others: an address and a model
    "deepseek-chat": ["hearing: {key: {environment: KEY}}", "speech: {key: {environment: KEY}}"],
    "holysheep-chat": ["model: m"],
    "holysheep-socket": ["model: m"],
    "holysheep-key-in-url": ["model: m"],
}


def minimal(profile: str, *lines: str) -> str:
    """The least of an endpoint with this profile; `lines` begin at line 5 (7 where the profile has no url)."""
    own = [] if profile in COMPLETE else NEEDS.get(profile, ["url: wss://relay.example/v1/realtime", "model: m"])
    key = "key: {environment: KEY}"
    return "\n    ".join(["endpoints:\n  - name: here", f"profile: {profile}", key, *own, *lines]) + "\n"


def endpoint_of(profile: str, *lines: str) -> Endpoint:
    return parse(minimal(profile, *lines), "f").endpoints[0]


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(text, "f")
    return caught.value.problems


@pytest.mark.parametrize("profile", names())
def test_each_one_makes_an_endpoint(profile: str) -> None:
    assert endpoint_of(profile).profile == profile


def test_kioskd_check_accepts_them_all(tmp_path: Path) -> None:
    file = tmp_path / "kioskd.yaml"
    items = [minimal(name).removeprefix("endpoints:\n").replace("name: here", f"name: {name}") for name in names()]
    file.write_text("endpoints:\n" + "".join(items))
    done = subprocess.run([sys.executable, "-m", "kioskd", "check", file], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_each_one_is_installed_and_named_to_the_owner() -> None:
    files = sorted((ROOT / "config" / "profiles").iterdir())
    assert names() == sorted(path.stem for path in files)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    installed = setup["options.data_files"]["share/kioskd/profiles"].split()
    assert sorted(installed) == [f"config/profiles/{path.name}" for path in files]
    for text in ((ROOT / "config" / "kioskd.yaml").read_text(), (ROOT / "README.md").read_text()):
        assert all(name in text for name in names())


def test_each_one_says_where_its_facts_are_from() -> None:
    for path in (ROOT / "config" / "profiles").iterdir():
        assert "Source:" in re.split(r"\n(?:dialect|kind):", path.read_text())[0], path


def test_the_endpoints_own_lines_go_before_those_of_its_profile() -> None:
    plain = endpoint_of("azure-preview")
    assert (plain.dialect, plain.auth, plain.transcription_model) == (Dialect.BETA, Auth.API_KEY_HEADER, "whisper-1")
    assert plain.query == {"api-version": "2025-04-01-preview"}
    own = endpoint_of("azure-preview", "auth: bearer", "transcription_model: null", "query: {a: b}")
    assert (own.dialect, own.auth, own.transcription_model) == (Dialect.BETA, Auth.BEARER, None)
    assert own.query == {"api-version": "2025-04-01-preview", "a": "b"}
    assert endpoint_of("azure-preview", "query: {api-version: x}").query == {"api-version": "x"}
    assert endpoint_of("openai", "url: wss://proxy.lan/v1/realtime").url == "wss://proxy.lan/v1/realtime"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("open-ai", "did you mean openai?"),
        ("Azure", "did you mean azure?"),
        ("nothing-alike", "There are: azure, azure-preview, deepseek-chat, holysheep"),
        ("../kioskd", "There are: azure"),
        ("/etc/passwd", "There are: azure"),
    ],
)
def test_an_unknown_one_is_told_once_with_those_that_there_are(name: str, says: str) -> None:
    (problem,) = problems_of(f"endpoints:\n  - name: here\n    profile: {name}\n")[:1]
    assert (problem.file, problem.line, problem.key) == ("f", 3, "endpoints[0].profile")
    assert says in problem.message


def test_what_a_profile_has_not_is_missed() -> None:
    problems = problems_of("endpoints: [{name: here, profile: azure}]")
    assert [problem.key for problem in problems] == ["endpoints[0].model", "endpoints[0].url"]


def test_a_contradiction_with_a_profile_is_told_in_the_owners_file() -> None:
    (problem,) = problems_of(minimal("openai", "temperature: 0.8"))
    assert (problem.file, problem.line, problem.key) == ("f", 5, "endpoints[0].temperature")
    (problem,) = problems_of(minimal("voice-live", "model_parameter: api=version"))
    assert (problem.file, problem.key) == ("f", "endpoints[0].model_parameter")


@pytest.mark.parametrize(
    ("content", "line", "key", "says"),
    [
        ("dialect: bta", 1, "dialect", "did you mean beta?"),
        ("# x\nname: x", 2, "name", "does not belong into a profile"),
        ("key: {environment: K}", 1, "key", "does not belong into a profile"),
        ("profile: openai", 1, "profile", "does not belong into a profile"),
        ("colour: red", 1, "colour", "unknown"),
        ("- a", 1, "", "key: value"),
        ("a: b: c", 1, "", "YAML"),
        ("voice: sk-0123456789abcdef0123", 1, "voice", "looks like a key"),
        (b"\xff", 1, "", "UTF-8"),
    ],
)
def test_a_broken_profile_is_told_with_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, line: int, key: str, says: str
) -> None:
    file = tmp_path / "profiles" / "mine.yaml"
    file.parent.mkdir()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(places, "PLACES", (tmp_path,))
    (problem,) = problems_of(minimal("mine"))
    assert (problem.file, problem.line, problem.key) == (str(file), line, key)
    assert says in problem.message
