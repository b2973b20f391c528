"""Faults of settings, key, clock and network, each really made: the doctor isn't told, and names the right one."""

from __future__ import annotations

import itertools
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
import yaml

from kioskd.doctor.basics import read_settings
from kioskd.doctor.checks import CHECKS
from kioskd.doctor.examination import examine
from kioskd.doctor.finding import Finding, Verdict, first_trouble, worst
from kioskd.doctor.patient import Patient
from kioskd.simulator.brain import Understanding
from kioskd.simulator.server import serve
from kioskd.simulator.settings import SimulatorSettings

SECRET = "sk-nobody-must-read-this-0123456789"
ROOT = Path(__file__).parents[2]
OURS = CHECKS[: [check.cause for check in CHECKS].index("overlay")]


class Mute:
    """A brain that nobody asks."""

    async def hear(self, pcm: bytes) -> Understanding:
        raise AssertionError("the doctor must not ask anything: it would be charged")

    read = answer = speak = hear


class Case:
    """A healthy kiosk of its own in `folder`, into which faults are put. `endpoint` goes into the settings file."""

    def __init__(self, folder: Path, port: int) -> None:
        self.key = folder / "key"
        self.key.write_text(SECRET)
        self.key.chmod(0o600)
        self.config = folder / "kioskd.yaml"
        self.folder = folder
        self.endpoint = {
            "name": "lobby", "url": f"ws://127.0.0.1:{port}/v1/realtime", "model": "m",
            "key": {"file": str(self.key)}, "open_timeout_s": 1, "setup_timeout_s": 1,
        }  # fmt: skip
        self.others: list[dict[str, object]] = []
        self.text: str | None = None

    async def examined(self) -> list[Finding]:
        endpoints = json.loads(json.dumps([self.endpoint, *self.others]))  # else YAML would use anchors
        self.config.write_text(yaml.safe_dump({"endpoints": endpoints}) if self.text is None else self.text)
        if self.text == "":
            self.config.unlink()
        patient = Patient(self.config, environ={})
        read_settings(patient)
        findings = await examine(patient, OURS)
        assert SECRET not in repr(findings)
        return findings


@asynccontextmanager
async def healthy(folder: Path) -> AsyncIterator[Case]:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(serve, SimulatorSettings(port=0, key=SECRET), Mute()))
        yield Case(folder, port)
        nursery.cancel_scope.cancel()


Fault = Callable[[Case], AbstractAsyncContextManager[None]]
FAULTS: dict[str, tuple[Fault, str, str]] = {}


def fault(cause: str, words: str) -> Callable[[Callable[[Case], AsyncIterator[None]]], None]:
    """A fault, the line on which it must be told first, and a word of that line."""

    def note(make: Callable[[Case], AsyncIterator[None]]) -> None:
        FAULTS[make.__name__] = (asynccontextmanager(make), cause, words)

    return note


@asynccontextmanager
async def listening(handle: Callable[[trio.SocketStream], object]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def saying(words: bytes) -> Callable[[trio.SocketStream], object]:
    async def handle(stream: trio.SocketStream) -> None:
        try:
            await stream.receive_some()
            await stream.send_all(words)
            await stream.aclose()
        except trio.BrokenResourceError:
            return

    return handle


def refusal(status: str, body: object = None, **headers: str) -> bytes:
    content = json.dumps(body).encode() if body is not None else b""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@fault("settings", "no such file")
async def no_settings(case: Case) -> AsyncIterator[None]:
    case.text = ""
    yield


@fault("settings", "kioskd.yaml:2")
async def a_mistake_in_the_settings(case: Case) -> AsyncIterator[None]:
    case.text = yaml.safe_dump({"endpoints": [case.endpoint]}).replace(
        "endpoints:", "audio:\n  volume: loud\nendpoints:"
    )
    yield


@fault("settings", "kioskd.yaml")
async def settings_that_are_no_yaml(case: Case) -> AsyncIterator[None]:
    case.text = "endpoints:\n\t- name: x\n"
    yield


@fault("credential", "does not exist")
async def no_key(case: Case) -> AsyncIterator[None]:
    case.key.unlink()
    yield


@fault("credential", "chmod 600")
async def a_key_that_all_may_read(case: Case) -> AsyncIterator[None]:
    case.key.chmod(0o644)
    yield


@fault("credential", "empty")
async def an_empty_key(case: Case) -> AsyncIterator[None]:
    case.key.write_text("\n")
    yield


@fault("key accepted", "Incorrect API key")
async def a_key_that_is_not_known(case: Case) -> AsyncIterator[None]:
    case.key.write_text("sk-of-another-account-0123456789")
    yield


@fault("clock", "server says")
async def a_clock_that_is_wrong(case: Case) -> AsyncIterator[None]:
    async with listening(saying(refusal("200 OK", Date="Wed, 21 Oct 2015 07:28:00 GMT"))) as port:
        case.endpoint["url"] = f"ws://127.0.0.1:{port}/"
        yield


@fault("name", "kiosk.invalid")
async def a_name_that_nobody_knows(case: Case) -> AsyncIterator[None]:
    case.endpoint["url"] = "wss://kiosk.invalid/v1/realtime"
    yield


@fault("proxy", "403")
async def a_proxy_that_refuses(case: Case) -> AsyncIterator[None]:
    async with listening(saying(refusal("403 Forbidden"))) as port:
        case.endpoint["proxy"] = f"http://127.0.0.1:{port}"
        yield


@fault("proxy", "Connection refused")
async def a_proxy_that_is_gone(case: Case) -> AsyncIterator[None]:
    case.endpoint["proxy"] = "http://127.0.0.1:9"
    yield


@fault("encryption", "Connection refused")
async def an_endpoint_that_is_gone(case: Case) -> AsyncIterator[None]:
    case.endpoint["url"] = "ws://127.0.0.1:9/v1/realtime"
    yield


@fault("encryption", "TLS")
async def a_server_without_tls(case: Case) -> AsyncIterator[None]:
    case.endpoint["url"] = str(case.endpoint["url"]).replace("ws:", "wss:")
    yield


@asynccontextmanager
async def encrypted(
    case: Case, trusted: bool = True, name: str = "localhost", **options: object
) -> AsyncIterator[None]:
    issuer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name, **options).configure_cert(context)  # type: ignore[arg-type]
    if trusted:
        issuer.cert_pem.write_to_path(str(case.folder / "ca.pem"))
        case.endpoint["extra_ca"] = str(case.folder / "ca.pem")

    async def handle(stream: trio.SocketStream) -> None:
        wrapped = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await wrapped.receive_some()
            await wrapped.send_all(refusal("404 Not Found"))
            await wrapped.aclose()
        except trio.BrokenResourceError:
            return

    async with listening(handle) as port:
        case.endpoint["url"] = f"wss://localhost:{port}/"
        yield


@fault("encryption", "not trusted")
async def a_certificate_of_nobody(case: Case) -> AsyncIterator[None]:
    async with encrypted(case, trusted=False):
        yield


@fault("encryption", "expired")
async def a_certificate_that_has_expired(case: Case) -> AsyncIterator[None]:
    async with encrypted(case, not_after=datetime.now(UTC) - timedelta(days=1)):
        yield


@fault("encryption", "mismatch")
async def a_certificate_for_another_name(case: Case) -> AsyncIterator[None]:
    async with encrypted(case, name="elsewhere.example"):
        yield


@fault("settings", "extra_ca")
async def a_ca_file_that_is_missing(case: Case) -> AsyncIterator[None]:
    async with encrypted(case):
        (case.folder / "ca.pem").unlink()
        yield


@fault("key accepted", "404")
async def a_url_that_is_no_door(case: Case) -> AsyncIterator[None]:
    async with encrypted(case):
        yield


@fault("key accepted", "quota")
async def no_credit(case: Case) -> AsyncIterator[None]:
    body = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
    async with listening(saying(refusal("429 Too Many Requests", body))) as port:
        case.endpoint["url"] = f"ws://127.0.0.1:{port}/"
        yield


@fault("key accepted", "firewall")
async def a_firewall_that_swallows_the_upgrade(case: Case) -> AsyncIterator[None]:
    async def swallow(stream: trio.SocketStream) -> None:
        async for _ in stream:
            pass

    async with listening(swallow) as port:
        case.endpoint["url"] = f"ws://127.0.0.1:{port}/"
        yield


@fault("model accepted", "model")
async def a_model_that_is_not_sold_there(case: Case) -> AsyncIterator[None]:
    body = {"error": {"code": "model_not_found", "message": "The model does not exist"}}
    async with listening(saying(refusal("404 Not Found", body))) as port:
        case.endpoint["url"] = f"ws://127.0.0.1:{port}/"
        yield


@fault("other endpoints", "spare")
async def a_second_endpoint_that_is_gone(case: Case) -> AsyncIterator[None]:
    case.others.append({**case.endpoint, "name": "spare", "url": "ws://127.0.0.1:9/v1/realtime"})
    yield


async def test_nothing_is_found_on_a_healthy_kiosk(tmp_path: Path) -> None:
    async with healthy(tmp_path) as case:
        findings = await case.examined()
    assert worst(findings) is Verdict.PASS, findings
    by_cause = {finding.cause: finding for finding in findings}
    assert {name for name, finding in by_cause.items() if finding.verdict is Verdict.SKIP} == {"other endpoints"}
    assert by_cause["round trip"].text.endswith(" ms")


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_named_first_with_a_remedy(name: str, tmp_path: Path) -> None:
    make, cause, words = FAULTS[name]
    async with healthy(tmp_path) as case, make(case):
        findings = await case.examined()
    found = first_trouble(findings)
    assert found is not None and found.cause == cause, found
    assert words in found.text + found.remedy
    assert found.remedy


# Faults that can be there together: one of key, settings or clock, and one of another endpoint.
PAIRS = list(
    itertools.product(
        ("no_key", "a_key_that_all_may_read", "an_empty_key", "a_key_that_is_not_known", "an_endpoint_that_is_gone"),
        ("a_second_endpoint_that_is_gone", "a_proxy_that_is_gone"),
    )
)


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_of_two_faults_both_are_told_or_the_second_once_the_first_is_mended(
    one: str, other: str, tmp_path: Path
) -> None:
    async with healthy(tmp_path) as case, AsyncExitStack() as made:
        for name in (one, other):
            await made.enter_async_context(FAULTS[name][0](case))
        findings = await case.examined()
    in_trouble = [finding.cause for finding in findings if finding.verdict in (Verdict.WARN, Verdict.FAIL)]
    assert in_trouble[0] in (FAULTS[one][1], FAULTS[other][1])
    skipped = [finding.cause for finding in findings if finding.verdict is Verdict.SKIP and "see " in finding.text]
    for name in (one, other):
        assert FAULTS[name][1] in in_trouble + skipped


async def test_a_machine_without_a_route_is_told_so_and_not_its_name_server(tmp_path: Path) -> None:
    config = tmp_path / "k.yaml"
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "key").chmod(0o600)
    key = str(tmp_path / "key")
    endpoint = {"name": "lobby", "url": "wss://api.example.com/v1/realtime", "model": "m", "key": {"file": key}}
    config.write_text(yaml.safe_dump({"endpoints": [endpoint]}))
    doctor = [sys.executable, "-m", "kioskd", "doctor", "--quiet", "--json", "--config", str(config)]
    done = subprocess.run(["unshare", "-rn", *doctor], capture_output=True, text=True, cwd=ROOT, timeout=60)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine gives nobody a network of their own")
    told = json.loads(done.stdout)
    assert told["first"] == "route" and done.returncode == 2
    assert next(finding for finding in told["findings"] if finding["cause"] == "name")["verdict"] == "skip"


def verdicts(findings: list[Finding]) -> dict[str, tuple[Verdict, str]]:
    return {finding.cause: (finding.verdict, finding.text) for finding in findings}


FAQ = """\
not_understood: Ask at the desk.
entries: [{name: opening, questions: [when do you open], answer: We open at ten.}]
"""


async def test_a_kiosk_that_answers_by_itself_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    async with healthy(tmp_path) as case:
        (tmp_path / "faq.yaml").write_text(FAQ)
        case.endpoint = {"name": "here", "kind": "local", "faq": str(tmp_path / "faq.yaml"), "open_timeout_s": 60}
        found = verdicts(await case.examined())
        assert {cause for cause, (verdict, _) in found.items() if verdict is Verdict.FAIL} == set()
        for cause in ("name", "route", "proxy", "encryption", "round trip", "model accepted"):
            assert found[cause][0] is Verdict.SKIP, cause
        assert found["key accepted"] == (Verdict.PASS, "it would answer")
        (tmp_path / "faq.yaml").write_text(FAQ + "oh: dear\n")
        verdict, text = verdicts(await case.examined())["key accepted"]
        assert verdict is Verdict.FAIL and "faq.yaml:3" in text


async def test_this_machine_is_the_last_to_be_looked_at(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    async with healthy(tmp_path) as case:
        (tmp_path / "faq.yaml").write_text(FAQ)
        relay = case.endpoint
        case.endpoint = {"name": "here", "kind": "local", "faq": str(tmp_path / "faq.yaml"), "open_timeout_s": 60}
        case.others = [relay]
        found = verdicts(await case.examined())
        assert found["key accepted"] == (Verdict.PASS, "a session opens")
        assert found["other endpoints"] == (Verdict.PASS, "here")


@pytest.mark.parametrize("kind", ["chat", "audio-sse"])
async def test_an_endpoint_over_plain_http_is_asked_for_its_key(tmp_path: Path, kind: str) -> None:
    async with healthy(tmp_path) as case:
        url = str(case.endpoint["url"]).replace("ws://", "http://").replace("/v1/realtime", "/v1/chat/completions")
        case.endpoint |= {"kind": kind, "url": url, "open_timeout_s": 10}
        found = verdicts(await case.examined())
        assert found["encryption"][0] is Verdict.PASS and found["key accepted"] == (Verdict.PASS, "it would answer")
        assert found["model accepted"][0] is Verdict.SKIP
        case.key.write_text("sk-another-0123456789")
        verdict, text = verdicts(await case.examined())["key accepted"]
        assert verdict is Verdict.FAIL and "401" in text
