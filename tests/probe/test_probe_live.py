"""The probe against the live simulator: what it measures, what its faults change, and what it never shows."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from attrs import evolve
from simulator_client import Witness, tone
from text_client import FAST, GUARD_S, KEY, QUESTION, ToldBrain

from kioskd.config.schema import Auth, Conversation, Endpoint, EndpointKind, Envelope, Http, Transport
from kioskd.config.spend_schema import Prices
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text import chat_http
from kioskd.endpoints.text.checking import KeyCheck
from kioskd.endpoints.text.model import ModelError
from kioskd.probe import discover as rooms
from kioskd.probe.advice import advise
from kioskd.probe.askers import HELD_BACK, Question
from kioskd.probe.discover import HostError, discover, host_settings
from kioskd.probe.doors import DOORS, Answers, Door
from kioskd.probe.handshake import shake
from kioskd.probe.measure import Plan, bill, measure
from kioskd.probe.page import as_json, table
from kioskd.probe.results import EndpointResult, Takes, WayResult
from kioskd.simulator.faults.catalogue import Phase
from kioskd.simulator.faults.script import FaultScript, Rule, parse_script
from kioskd.simulator.server import serve
from kioskd.simulator.settings import SimulatorSettings

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
CALM = Conversation(instructions="Be brief.")
ASKED = Question(QUESTION, CALM, tone(300), pace=1000.0)
PRICES = Prices(text_input=2, text_output=8, audio_input=32, audio_output=64)


@asynccontextmanager
async def simulators(
    *faults: FaultScript | None, proxied: bool = False, settings: SimulatorSettings = FAST
) -> AsyncIterator[list[int]]:
    """One for each script; their ports."""
    with trio.fail_after(GUARD_S * 2):
        async with trio.open_nursery() as nursery:
            start = partial(serve, settings, ToldBrain(), Witness(), proxied=proxied)
            yield [await nursery.start(partial(start, faults=script)) for script in faults]
            nursery.cancel_scope.cancel()


def realtime(port: int, name: str = "e", **more: Any) -> Endpoint:
    return Endpoint(name, f"ws://127.0.0.1:{port}/v1/realtime", "m", prices=PRICES, **more)


def text(port: int, kind: EndpointKind, path: str, name: str = "e", **more: Any) -> Endpoint:
    scheme = "http" if "completions" in path else "ws"
    return Endpoint(name, f"{scheme}://127.0.0.1:{port}/v1/{path}", "m", kind, prices=PRICES, **more)


def chat(port: int, name: str = "e", **more: Any) -> Endpoint:
    return text(port, EndpointKind.CHAT, "chat/completions", name, **more)


def responses(port: int, name: str = "e", **more: Any) -> Endpoint:
    return text(port, EndpointKind.RESPONSES, "responses", name, **more)


async def probe(*endpoints: Endpoint, plan: Plan | None = None, question: Question = ASKED) -> list[EndpointResult]:
    return await measure(endpoints, question, plan or Plan(turns=2), lambda _: KEY)


def own(result: EndpointResult) -> WayResult:
    (way,) = [way for way in result.ways if way.configured]
    return way


def kinds(port: int) -> list[Endpoint]:
    socket = {"transport": Transport.WEBSOCKET}
    return [
        realtime(port, "realtime"),
        responses(port, "top-level"),
        text(port, EndpointKind.RESPONSES, "realtime", "nested", envelope=Envelope.NESTED),
        text(port, EndpointKind.CHAT, "ws", "header-key", **socket),
        text(port, EndpointKind.CHAT, "stream", "url-key", auth=Auth.QUERY, **socket),
        chat(port, "sse"),
        chat(port, "plain", transport=Transport.PLAIN),
        evolve(chat(port, "audio"), kind=EndpointKind.AUDIO_SSE),
    ]


async def test_every_kind_is_measured() -> None:
    async with simulators(None) as (port,):
        results = await probe(*kinds(port))
    assert [result.name for result in results] == [endpoint.name for endpoint in kinds(port)]
    for result in results:
        assert (result.key.asked, result.key.credits_left, result.key.failure) == ("/v1/auth/verify", 100.0, "")
        way = own(result)
        (series,) = way.series
        assert (way.absent, series.wanted, series.answered) == ("", 2, 2), result.name
        first, total, rate, cost = series.first_ms, series.total_ms, series.tokens_per_s, series.cost
        assert first and total and rate and cost, result.name
        assert 0 < first.median <= total.median and rate.median > 0 and cost.median > 0
        assert len(way.steps) == 2 and all(steps.all_ms > 0 for steps in way.steps)
        assert all((steps.upgrade_ms is not None) == ("sse" not in way.label and "plain" not in way.label)
                   for steps in way.steps)  # fmt: skip
    text_ways = [way for result in results for way in result.ways if way.takes is Takes.TEXT]
    assert all(way.series[0].answered == 2 for way in text_ways if not way.absent)
    page = table(results, advise(results, "USD"), "USD")
    assert max(map(len, page.splitlines())) <= 80
    assert KEY not in page + as_json(results, advise(results, "USD"), "USD", QUESTION, {})


async def test_the_wires_of_one_host_are_measured_side_by_side() -> None:
    async with simulators(None) as (port,):
        (result,) = await probe(chat(port))
    assert [way.label for way in result.ways] == [
        "chat sse",
        "chat plain",
        "chat socket /ws/stream",
        "chat socket /ws",
        "responses top-level",
    ]
    assert all(way.series[0].answered == 2 for way in result.ways)


async def test_so_many_at_once() -> None:
    plan = Plan(turns=2, at_once=3)
    async with simulators(None) as (port,):
        (result,) = await probe(realtime(port), plan=plan)
    alone, together = own(result).series
    assert (alone.at_once, alone.answered, together.at_once, together.answered) == (1, 2, 3, 6)
    assert plan.questions == alone.wanted + together.wanted == 8


LATE = "seed: 1\nfaults:\n  - {kind: jitter-300ms, phase: asked}\n"  # as a file for `kioskd simulate --faults`


def one_late(late: int) -> list[FaultScript]:
    """Two scripts, one of which delays every piece from a question on."""
    return [parse_script(LATE, "f") if number == late else FaultScript([]) for number in (0, 1)]


@pytest.mark.parametrize("late", [0, 1])
async def test_a_delay_put_on_one_text_model_moves_the_recommendation_to_the_other(late: int) -> None:
    async with simulators(*one_late(late), proxied=True) as (one, other):
        results = await probe(chat(one, "a"), responses(other, "b"))
    advice = advise(results, "USD")
    quick = "ba"[late]
    assert advice.ranking[Takes.TEXT][0].name.startswith(quick), advice
    assert advice.text.startswith(f"Of the text models take {quick} (")


@pytest.mark.parametrize("late", [0, 1])
async def test_a_delay_put_on_one_voice_moves_it_too(late: int) -> None:
    async with simulators(*one_late(late), proxied=True) as (one, other):
        results = await probe(realtime(one, "a"), evolve(chat(other, "b"), kind=EndpointKind.AUDIO_SSE))
    assert advise(results, "USD").text.startswith("For a voice take " + "ba"[late])


async def test_a_stream_that_is_held_back_is_told_and_ranked_behind() -> None:
    script = FaultScript([Rule("sse-buffered")])
    patient = Http(answer_timeout_s=20)
    async with simulators(script) as (port,):
        (result,) = await probe(chat(port, http=patient), plan=Plan(turns=1))
    (first, *_) = advise([result], "USD").ranking[Takes.TEXT]
    assert first.name != "e (chat sse)"
    sse = own(result).series[0].first_ms
    assert sse is not None and sse.median > 1000


async def test_a_stream_that_never_comes_is_asked_for_in_one_piece_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_http, "FIRST_WORD_S", 1.0)
    async with simulators(FaultScript([Rule("sse-buffered")])) as (port,):
        (result,) = await probe(chat(port))
    assert own(result).notes == (HELD_BACK,) and own(result).series[0].answered == 2
    assert [way.notes for way in result.ways if not way.configured] == [()] * 4
    assert HELD_BACK[:30] in table([result], advise([result], "USD"), "USD").replace("\n      ", " ")


async def test_a_firewall_that_blocks_sockets_is_told_and_the_rest_is_measured() -> None:
    async with simulators(FaultScript([Rule("upgrade-blocked")])) as (port,):
        blocked, (voice,) = await probe(chat(port)), await probe(realtime(port))
    ways = {way.label: way for way in blocked[0].ways}
    assert "403" in ways["responses top-level"].absent and not ways["responses top-level"].series
    assert ways["chat sse"].series[0].answered == ways["chat plain"].series[0].answered == 2
    assert "403" in own(voice).absent


async def test_with_another_key_nothing_is_asked() -> None:
    async with simulators(None) as (port,):
        wrong = "sk-wrong-0123456789abcdef"
        (result,) = await measure([chat(port)], ASKED, Plan(2), lambda _: wrong)
    assert "401" in result.key.failure and wrong not in repr(result)
    assert [way.series for way in result.ways] == [()]


async def test_a_key_that_may_not_list_models_may_still_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(*_: object) -> None:
        raise ModelError(Failure(Kind.ERROR, "missing scopes", status=403))

    monkeypatch.setattr(KeyCheck, "run", forbidden)
    async with simulators(None) as (port,):
        (result,) = await probe(chat(port, transport=Transport.PLAIN), plan=Plan(1))
    assert result.key.failure == "missing scopes"
    assert [way.series[0].answered for way in result.ways] == [1] * 5


async def test_without_a_spoken_question_what_hears_is_not_asked() -> None:
    async with simulators(None) as (port,):
        results = await probe(realtime(port), chat(port), question=evolve(ASKED, pcm=b"", trouble="nobody speaks"))
    assert own(results[0]).absent == "nobody speaks" and not own(results[0]).series
    assert own(results[1]).series[0].answered == 2


async def test_without_a_key_nobody_is_connected() -> None:
    def none(_: Endpoint) -> str:
        raise ValueError("no key is named")

    (result,) = await measure([chat(1)], ASKED, Plan(2), none)
    assert result.key.failure == "no key is named" and not any(way.series for way in result.ways)


async def test_nobody_there_is_one_line_a_way() -> None:
    async with simulators(None) as (port,):
        pass
    (result,) = await probe(realtime(port))
    assert "no connection" in result.key.failure and own(result).absent == "not asked"


@pytest.mark.parametrize("kind", ["answer-error", "answer-rate-limit", "cut-without-done", "answer-disconnect"])
async def test_an_answer_that_fails_is_counted_and_not_measured(kind: str) -> None:
    script = FaultScript([Rule(kind, Phase.ANSWERING, times=1)])
    async with simulators(script) as (port,):
        (result,) = await probe(chat(port), plan=Plan(turns=3))
    series = own(result).series[0]
    assert (series.answered, series.failed, len(series.failures)) == (2, 1, 1)
    assert series.first_ms is not None and series.first_ms.count == 2


async def test_a_realtime_answer_that_fails_is_counted_and_not_measured() -> None:
    async with simulators(FaultScript([Rule("failed-server-error", Phase.ASKED, times=1)])) as (port,):
        (result,) = await probe(realtime(port), plan=Plan(turns=3))
    assert (own(result).series[0].answered, own(result).series[0].failed) == (2, 1)


async def test_what_always_fails_is_given_up_soon() -> None:
    async with simulators(FaultScript([Rule("answer-error")])) as (port,):
        (result,) = await probe(chat(port, transport=Transport.PLAIN), plan=Plan(turns=9))
    assert len(own(result).series[0].asked) == 3


async def test_a_connection_that_is_made_for_its_own_sake_asks_nothing() -> None:
    brain = ToldBrain()
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, FAST, brain)
            results = await probe(*kinds(port), plan=Plan(3, handshake_only=True))
            nursery.cancel_scope.cancel()
    assert brain.heard == brain.read_texts == []
    assert all(len(own(result).steps) == 3 and not own(result).series for result in results)
    shown = table(results, None, "USD")
    assert "upgrade" in shown and max(map(len, shown.splitlines())) <= 80


async def test_what_was_told_to_be_the_most_is_not_exceeded() -> None:
    async with simulators(None) as (port,):
        endpoints = kinds(port)
        plan = Plan(turns=1)
        most = bill(endpoints, ASKED, plan)
        results = await probe(*endpoints, plan=plan)
    asked = [one for result in results for way in result.ways for series in way.series for one in series.asked]
    assert len(asked) <= most.questions and most.unpriced == ()
    assert 0 < sum(one.cost or 0 for one in asked) <= most.cost
    assert bill(endpoints, ASKED, Plan(3, 4)).cost == 15 * most.cost
    assert bill(endpoints, ASKED, Plan(3, handshake_only=True)).cost == 0


async def test_no_more_is_asked_a_minute_than_the_settings_allow(autojump_clock: trio.testing.MockClock) -> None:
    from kioskd.probe.measure import _Probe

    times: list[float] = []

    class Quick:
        note = ""

        async def ask(self, turn: int) -> Any:
            from kioskd.probe.results import Asked

            times.append(trio.current_time())
            return Asked(1, 2, 3)

        async def get_ready(self) -> None:
            pass

    endpoint = chat(1, requests_per_minute=3)
    way = rooms_way(endpoint)
    await _Probe(endpoint, ASKED, Plan(7), lambda _: KEY, lambda _: None)._ask_turns(way, Quick(), 1, [])
    assert len(times) == 7
    assert all(times[n + 3] - times[n] >= 60 for n in range(4))


def rooms_way(endpoint: Endpoint) -> Any:
    from kioskd.probe.ways import ways_of

    return ways_of(endpoint)[0]


# Doors


async def test_a_hosts_doors_are_found_and_nothing_is_asked() -> None:
    brain = ToldBrain()
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, FAST, brain)
            settings, ours = host_settings(f"127.0.0.1:{port}", [chat(port)])
            found = await discover(settings, KEY)
            nursery.cancel_scope.cancel()
    assert ours and brain.heard == brain.read_texts == []
    answers = {each.door.what: (each.answers, each.dialect) for each in found}
    there = {what for what, (answer, _) in answers.items() if answer is Answers.YES}
    missing = {"realtime beta", "minted sessions ga", "minted sessions beta"}
    assert there == {door.what for door in DOORS} - missing
    assert answers["realtime ga"] == (Answers.YES, "realtime ga")
    assert answers["responses nested"] == answers["responses top-level"] == (Answers.YES, "responses")
    assert answers["chat socket"] == (Answers.YES, "chat")


async def test_the_doors_of_a_beta_relay_are_told_from_those_of_ga() -> None:
    async with simulators(None, settings=evolve(FAST, dialect="beta")) as (port,):
        settings, _ = host_settings(f"127.0.0.1:{port}", [])
        found = {each.door.what: each for each in await discover(settings, KEY)}
    assert found["realtime beta"].answers is Answers.YES and found["realtime beta"].dialect == "realtime beta"


async def test_without_the_key_the_doors_are_locked() -> None:
    async with simulators(None) as (port,):
        settings, ours = host_settings(f"127.0.0.1:{port}", [])
        found = {each.door.what: each.answers for each in await discover(settings, "")}
    assert not ours
    assert found["key check with credits"] is found["realtime ga"] is found["speech"] is Answers.LOCKED
    assert found["minted sessions ga"] is Answers.NO


async def test_a_host_that_answers_everything_alike_says_nothing() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            (listener, *_) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            settings, _ = host_settings(f"127.0.0.1:{port}", [])
            found = await discover(settings, "")
            nursery.cancel_scope.cancel()
    assert {each.answers for each in found} == {Answers.UNCLEAR}


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("relay.example", True),
        ("https://relay.example", True),
        ("wss://relay.example:443/v1/realtime", True),
        ("relay.example:444", False),
        ("evil.example", False),
        ("relay.example.evil.example", False),
    ],
)
def test_the_key_goes_to_its_own_host_only(host: str, ours: bool) -> None:
    theirs = Endpoint("e", "wss://relay.example/v1/realtime", "m", auth=Auth.API_KEY_HEADER)
    settings, is_ours = host_settings(host, [theirs])
    assert is_ours is ours
    assert (settings.auth is Auth.API_KEY_HEADER) is ours


@pytest.mark.parametrize(
    "host", ["", "https://", "ftp://x", "https://me:pw@x", "http://relay.example", "ws://relay.example"]
)
def test_what_is_no_host_or_would_be_asked_in_plain_text_is_refused(host: str) -> None:
    with pytest.raises(HostError):
        host_settings(host, [])


def test_a_plain_loopback_host_does_not_get_the_key_of_an_encrypted_one() -> None:
    theirs = Endpoint("e", "wss://127.0.0.1:8900/v1/realtime", "m")
    assert host_settings("http://127.0.0.1:8900", [theirs])[1] is False


def test_a_models_name_that_is_not_known_is_no_missing_path() -> None:
    door, nowhere = Door("WS", "/x", "x"), rooms._Said(404)
    unknown_model = rooms._Said(404, code="model_not_found")
    assert rooms.judged(door, rooms._Said(404), nowhere).answers is Answers.NO
    assert rooms.judged(door, unknown_model, rooms._Said(405)).answers is Answers.YES
    assert rooms.judged(door, rooms._Said(101), nowhere).answers is Answers.YES
    assert rooms.judged(door, rooms._Said(502), nowhere).answers is Answers.UNCLEAR


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"nonsense\r\n\r\n", b"HTTP/1.1 403 No\r\n\r\n" + b"x" * 99]
)
async def test_an_upgrade_that_is_not_made_is_a_failure_in_words(reply: bytes) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(reply or b" ")

    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            (listener, *_) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            with pytest.raises(ModelError, match=r"127\.0\.0\.1"):
                await shake(realtime(listener.socket.getsockname()[1]), KEY)
            nursery.cancel_scope.cancel()


async def test_each_step_of_an_encrypted_connection_is_measured(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    heard: list[bytes] = []

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        heard.append(bytes(await stream.receive_some()))
        nonce = heard[0].partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0]
        accept = base64.b64encode(
            hashlib.sha1(nonce + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        )  # RFC 6455, 1.3
        fields = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: " + accept
        await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n\r\n")
        heard.append(bytes(await stream.receive_some()))
        await stream.transport_stream.aclose()

    endpoint = Endpoint("e", "", "m", extra_ca=str(tmp_path / "ca.pem"))
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            start = partial(trio.serve_ssl_over_tcp, answer, 0, context, host="127.0.0.1")
            (listener, *_) = await nursery.start(start)
            port = listener.transport_listener.socket.getsockname()[1]
            steps = await shake(evolve(endpoint, url=f"wss://localhost:{port}/v1/realtime"), KEY)
            nursery.cancel_scope.cancel()
    parts = (steps.name_ms, steps.tcp_ms, steps.tls_ms, steps.upgrade_ms)
    assert all(part is not None and part > 0 for part in parts)
    assert steps.all_ms == pytest.approx(sum(part or 0 for part in parts))
    assert heard[0].startswith(b"GET /v1/realtime?model=m HTTP/1.1") and f"Bearer {KEY}".encode() in heard[0]
    assert heard[1][:2] == b"\x88\x82"  # it says goodbye


# The command


def kioskd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kioskd", "probe", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PROBE_KEY": KEY},
    )


async def test_the_command_prints_json_and_says_before_what_it_may_cost(tmp_path: Path) -> None:
    async with simulators(None) as (port,):
        config = tmp_path / "kioskd.yaml"
        config.write_text(
            f"endpoints:\n  - name: words\n    profile: openai-chat\n    url: http://127.0.0.1:{port}/v1/chat/completions\n"
            "    key: {environment: PROBE_KEY}\n  - {name: other, url: 'ws://127.0.0.1:9/v1/realtime', model: m}\n"
        )
        run = partial(kioskd, "words", "--turns", "1", "--json", "--config", config)
        done = await trio.to_thread.run_sync(run)
        find = partial(kioskd, "--discover", f"127.0.0.1:{port}", "--json", "--config", config)
        doors = await trio.to_thread.run_sync(find)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (endpoint,) = found["endpoints"]
    assert endpoint["unverified"] and endpoint["ways"][0]["series"][0]["answered"] == 1
    assert done.stderr.startswith("At most 6 questions, 0.0")
    assert found["at_most"]["questions"] == 6
    assert found["recommendation"].startswith("Of the text models take words (")
    assert doors.returncode == 0
    assert [door for door in json.loads(doors.stdout)["doors"] if door["answers"] not in ("yes", "no")] == []
    assert KEY not in done.stdout + done.stderr + doors.stdout + doors.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--turns", "0"], 2),
        (["--at-once", "51"], 2),
        (["nobody"], 2),
        (["--question", " "], 2),
        (["--discover", "ftp://x"], 2),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], code: int, tmp_path: Path) -> None:
    config = tmp_path / "kioskd.yaml"
    config.write_text("endpoints: [{name: e, url: 'ws://127.0.0.1:9/v1/realtime', model: m, key: {environment: K}}]\n")
    done = kioskd(*arguments, "--config", config)
    assert done.returncode == code and len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_the_settings_are_checked_first(tmp_path: Path) -> None:
    config = tmp_path / "kioskd.yaml"
    config.write_text("endpoints: [{name: e}]\n")
    assert kioskd("--config", config).returncode == 78


def test_what_profiles_leave_unverified_is_told_in_the_readme_too() -> None:
    from kioskd.config.load import parse
    from kioskd.config.profiles import names

    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]
    marked = [line.split("`")[1] for line in rows if "*unverified*" in line and line.split("`")[1] in names()]
    assert marked
    for name in marked:
        needed = "url: wss://a.example/v1/realtime, model: m"
        if name in ("holysheep-chat", "openai-audio", "deepseek-chat", "openai-chat"):
            needed = "url: https://a.example/v1/chat/completions, model: m"
        item = f"{{name: e, profile: {name}, key: {{environment: K}}, {needed}}}"
        assert parse(f"endpoints: [{item}]", "f").endpoints[0].unverified, name
