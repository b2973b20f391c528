"""What settings mean together: contradictions, addresses, pins, and keys that lie in the open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory

from kioskd.config.load import Problem, SettingsError, parse
from kioskd.config.pins import bcm_number
from kioskd.config.schema import Mint, MintKind

URL = "wss://relay.example/v1/realtime"
KEY = "sk-proj-0123456789abcdefghij"


def settings(endpoint: str = "", rest: str = "", url: str = URL) -> str:
    """`endpoint` is line 5, `rest` follows it (line 6, or 5 where `endpoint` is empty)."""
    lines = ["endpoints:", "  - name: relay", f'    url: "{url}"', "    model: m"]
    return "\n".join([*lines, *(["    " + endpoint] if endpoint else []), rest, ""])


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(text, "f")
    assert KEY not in str(caught.value)
    return caught.value.problems


def the_problem(text: str) -> Problem:
    (problem,) = problems_of(text)
    return problem


@pytest.mark.parametrize(
    "url",
    [
        "wss://api.openai.com/v1/realtime?model=gpt-realtime",
        "wss://r.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=d",
        "wss://[2001:db8::1]:8443/x",
        "ws://localhost:8900/",
        "ws://127.0.0.1:8900/v1/realtime",
        "ws://127.9.9.9/",
        "ws://[::1]:80/",
        "WSS://relay.example",
    ],
)
def test_good_addresses(url: str) -> None:
    assert parse(settings(url=url), "f").endpoints[0].url == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ws://relay.example/", "unencrypted"),
        ("ws://192.168.1.5/", "plain_text_allowed: true"),
        ("ws://127.0.0.1.relay.example/", "unencrypted"),
        ("ws://localhost.relay.example/", "unencrypted"),
        ("https://relay.example/", "must begin with wss://"),
        ("relay.example/v1", "no URL"),
        ("wss://", "no URL"),
        ("wss:///v1", "no URL"),
        ("wss://[::1/", "no URL"),
        ("wss://relay.example:port/", "no URL"),
        ("wss://relay.example:70000/", "no URL"),
        ("wss://relay.example:0/", "no URL"),
        ("wss://relay example/", "no URL"),
        ("wss://kölner-dom.example/", "no URL"),
        ("wss://relay.example/#a", "#"),
        ("wss://user:hunter2@relay.example/", "before the @"),
        ("wss://:hunter2@relay.example/", "before the @"),
        ("wss://hunter2@relay.example/", "before the @"),
        ("wss://relay.example/?api_key=hunter2", "api_key="),
        ("wss://relay.example/?model=m&key=hunter2", "key="),
        ("wss://relay.example/?Access_Token=hunter2", "Access_Token="),
        ("wss://relay.example/?api-key=", "api-key="),
    ],
)
def test_bad_addresses_say_why_and_show_no_key(url: str, says: str) -> None:
    problem = the_problem(settings(url=url))
    assert (problem.line, problem.key) == (3, "endpoints[0].url")
    assert says in problem.message
    assert "hunter2" not in problem.message


def test_plain_text_may_be_allowed() -> None:
    assert parse(settings("plain_text_allowed: true", url="ws://192.168.1.5/"), "f")


@pytest.mark.parametrize(
    "text",
    [
        settings(f"voice: {KEY}"),
        settings(f"voice: {KEY}\n    nonsense: 1"),
        settings(f"key: {KEY}"),
        settings("key: {environment: hsa-0123456789abcdef}"),
        settings(f"{KEY}: x"),
        settings("", f"# the old one: {KEY}"),
        settings(url=f"wss://relay.example/{KEY}"),
        settings("voice: *sk-0123456789abcdefghij"),
        settings(f"voice: &{KEY} x"),
        settings(f"voice: !{KEY} x"),
        settings(f'voice: "{KEY}'),
        settings("voice: ek_0123456789abcdef0123"),
        settings(f"dialect: {KEY}"),
        settings(f"requests_per_minute: {KEY}"),
        settings(f"extra_ca: /{KEY}"),
        settings("", f"panel: {{button: {{pin: {KEY}}}}}"),
    ],
)
def test_a_key_anywhere_in_the_file_is_found_and_never_repeated(text: str) -> None:
    problems = problems_of(text)
    assert any("does not belong into this file" in p.message and "looks like a key" in p.message for p in problems)
    assert "0123456789abcdef" not in "".join(map(str, problems))


@pytest.mark.parametrize(
    ("endpoint", "rest", "line", "key", "says"),
    [
        ("temperature: 0.8", "", 5, "endpoints[0].temperature", "only in the dialect beta"),
        ("kind: chat", "", 3, "endpoints[0].url", "must begin with https://, as the transport sse wants it"),
        ("kind: audio-sse", "", 3, "endpoints[0].url", "must begin with https://, as the kind audio-sse wants it"),
        ("transport: plain", "", 5, "endpoints[0].transport", "means nothing to an endpoint of the kind realtime"),
        ("envelope: nested", "", 5, "endpoints[0].envelope", "set another kind"),
        ("server_keeps: false", "", 5, "endpoints[0].server_keeps", "set another kind"),
        ("hearing: {stream: false}", "", 5, "endpoints[0].hearing", "the kind realtime"),
        ("speech: {voice: ash}", "", 5, "endpoints[0].speech", "the kind realtime"),
        ("faq: /faq.yaml", "", 5, "endpoints[0].faq", "the kind realtime"),
        ("keep_place: true", "", 5, "endpoints[0].keep_place", "the kind realtime"),
        ("ping_timeout_s: 20", "", 5, "endpoints[0].ping_timeout_s", "less than ping_interval_s (20 s)"),
        ("ping_interval_s: 5", "", 2, "endpoints[0].ping_timeout_s", "less than ping_interval_s (5 s)"),
        ("http: {total_timeout_s: 50}", "", 5, "endpoints[0].http.stream_timeout_s", "total_timeout_s (50 s)"),
        ("http: {answer_timeout_s: 121}", "", 5, "endpoints[0].http.answer_timeout_s", "total_timeout_s (120 s)"),
        ("key: {credential: a/b}", "", 5, "endpoints[0].key.credential", "no slash"),
        ("key: {credential: ..}", "", 5, "endpoints[0].key.credential", "no slash"),
        ("key: {file: key.txt}", "", 5, "endpoints[0].key.file", "beginning with /"),
        ("key: {environment: MY-KEY}", "", 5, "endpoints[0].key.environment", "OPENAI_API_KEY"),
        ("query: {api_key: x}", "", 5, "endpoints[0].query.api_key", "set auth: query"),
        ("query: {Access-Token: x}", "", 5, "endpoints[0].query.Access-Token", "does not belong into this file"),
        ('query: {"a b": x}', "", 5, "endpoints[0].query", "letters, digits"),
        ("model_parameter: a=b", "", 5, "endpoints[0].model_parameter", "letters, digits"),
        ('key_parameter: "?"', "", 5, "endpoints[0].key_parameter", "letters, digits"),
        ("headers: {Authorization: x}", "", 5, "endpoints[0].headers.Authorization", "auth says how it travels"),
        ("headers: {api-key: x}", "", 5, "endpoints[0].headers.api-key", "key.credential"),
        ("headers: {X-Auth-Token: x}", "", 5, "endpoints[0].headers.X-Auth-Token", "carries a key"),
        ("headers: {Cookie: x}", "", 5, "endpoints[0].headers.Cookie", "carries a key"),
        ("headers: {HOST: x}", "", 5, "endpoints[0].headers.HOST", "set by kioskd itself"),
        ("headers: {Sec-WebSocket-Key2: x}", "", 5, "endpoints[0].headers.Sec-WebSocket-Key2", "set by kioskd"),
        ('headers: {"X:": x}', "", 5, "endpoints[0].headers", "no colon"),
        ("headers: {X-A: a, x-a: b}", "", 5, "endpoints[0].headers.x-a", "twice"),
        ("headers: {X-A: ü}", "", 5, "endpoints[0].headers.X-A", "plain ASCII"),
        ("mint: {kind: broker}", "", 5, "endpoints[0].mint.url", "address of its own"),
        ("mint: {url: wss://h/}", "", 5, "endpoints[0].mint.url", "https://"),
        ("mint: {url: http://h.example/}", "", 5, "endpoints[0].mint.url", "unencrypted"),
        ('mint: {url: "https://h/?token=x"}', "", 5, "endpoints[0].mint.url", "token="),
        ("mint: {url: https://u:p@h/}", "", 5, "endpoints[0].mint.url", "before the @"),
        ("mint: {url: h}", "", 5, "endpoints[0].mint.url", "no URL"),
        ("proxy: https://p:1", "", 5, "endpoints[0].proxy", "http://proxy.lan:3128"),
        ("proxy: p:3128", "", 5, "endpoints[0].proxy", "http://proxy.lan:3128"),
        ("proxy: http://p:3128/x", "", 5, "endpoints[0].proxy", "http://proxy.lan:3128"),
        ("proxy: http://u:p@p:3128", "", 5, "endpoints[0].proxy", "without one"),
        ("extra_ca: ca.pem", "", 5, "endpoints[0].extra_ca", "beginning with /"),
        ("extra_ca: /nowhere/ca.pem", "", 5, "endpoints[0].extra_ca", "/nowhere/ca.pem there is no such file"),
        ("extra_ca: /dev/null", "", 5, "endpoints[0].extra_ca", "not a regular file"),
        ("", "conversation: {min_utterance_ms: 2000, max_utterance_s: 2}", 5, "conversation.min_utterance_ms", "(2 s)"),
        ("", "conversation: {max_utterance_s: 120}", 5, "conversation.stuck_button_s", "more than max_utterance_s"),
        ("", "conversation: {language: German}", 5, "conversation.language", "such as de or en"),
        ("", "audio: {period_frames: 1024, buffer_ms: 85}", 5, "audio.buffer_ms", "86 ms or more, not 85"),
        ("", "panel: {lamp: {pins: []}}", 5, "panel.lamp.pins", "one pin; 0 are given"),
        ("", "panel: {lamp: {kind: none}}", 5, "panel.lamp.pins", "no pins: []"),
        ("", "panel: {lamp: {kind: rgb}}", 5, "panel.lamp.pins", "three pins: red, green, blue"),
        ("", "panel: {lamp: {kind: pwm, pins: [1, 2]}}", 5, "panel.lamp.pins", "one pin; 2 are given"),
        ("", "panel: {button: {pin: 27}}", 5, "panel.lamp.pins[0]", "GPIO27 is already used by panel.button.pin"),
        ("", "panel: {lamp: {pins: [BOARD11]}}", 5, "panel.lamp.pins[0]", "GPIO17 is already used"),
        ("", "panel: {lamp: {kind: rgb, pins: [1, 2, GPIO1]}}", 5, "panel.lamp.pins[2]", "panel.lamp.pins[0]"),
        ("", "panel: {button: {pin: 28}}", 5, "panel.button.pin", "28 is no GPIO pin"),
        ("", "panel: {button: {pin: -1}}", 5, "panel.button.pin", "BCM number from 0 to 27"),
        ("", "panel: {button: {pin: BOARD1}}", 5, "panel.button.pin", "BOARD1 is no GPIO pin"),
        ("", "panel: {button: {pin: gpio17}}", 5, "panel.button.pin", "such as GPIO17 or BOARD11"),
    ],
)
def test_a_contradiction_is_told_where_it_stands(endpoint: str, rest: str, line: int, key: str, says: str) -> None:
    problem = the_problem(settings(endpoint, rest))
    assert (problem.line, problem.key) == (line, key)
    assert says in problem.message


@pytest.mark.parametrize("name", ["Relay", "a b", "-a", "a_b", "a" * 33, "ä"])
def test_names_of_endpoints_are_plain(name: str) -> None:
    assert the_problem(settings().replace("name: relay", f"name: {name}")).key == "endpoints[0].name"


def test_names_of_endpoints_are_unique() -> None:
    text = settings() + "  - {name: other, url: wss://a, model: m}\n  - {name: relay, url: wss://a, model: m}\n"
    problem = the_problem(text)
    assert (problem.line, problem.key) == (7, "endpoints[2].name")
    assert "endpoints[0]" in problem.message


def test_every_contradiction_is_told_at_once() -> None:
    text = settings("temperature: 1", "panel: {lamp: {kind: rgb}}\naudio: {buffer_ms: 20}", url="ws://a")
    assert [problem.line for problem in problems_of(text)] == [3, 5, 6, 7]


def test_an_extra_ca_is_a_readable_certificate(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("hello")
    assert "no certificate" in the_problem(settings(f"extra_ca: {file}")).message
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert parse(settings(f"extra_ca: {file}"), "f").endpoints[0].extra_ca == str(file)
    if os.geteuid() == 0:
        file.chmod(0)
        os.seteuid(65534)
        try:
            problem = the_problem(settings(f"extra_ca: {file}"))
        finally:
            os.seteuid(0)
        assert str(file) in problem.message
        assert "may not be read" in problem.message


def test_a_proxy_and_a_temperature_where_they_belong() -> None:
    assert parse(settings("proxy: http://proxy.lan:3128\n    temperature: 0.8\n    dialect: beta"), "f")


@pytest.mark.parametrize("name", ["model", "deployment", "k"])
def test_the_keys_parameter_is_its_own(name: str) -> None:
    text = settings(f"key_parameter: {name}\n    auth: query\n    query: {{k: x}}")
    assert "carries something else" in the_problem(text).message
    assert parse(text.replace("auth: query", "auth: bearer"), "f")


def test_azures_ga_address_takes_no_api_version() -> None:
    azure = "wss://r.openai.azure.com/openai/v1/realtime"
    assert the_problem(settings(url=f"{azure}?api-version=1")).key == "endpoints[0].url"
    problem = the_problem(settings("query: {api-version: preview}", url=azure))
    assert (problem.line, problem.key) == (5, "endpoints[0].query")
    assert "401" in problem.message


def test_queries_headers_and_mints_that_are_right() -> None:
    text = """query: {api-version: "2026-07-15", stream: "true"}
    headers: {X-Kiosk: "lobby 2", OpenAI-Beta: realtime=v2}
    mint: {kind: broker, url: "https://broker.example/kiosk", timeout_s: 5}"""
    (endpoint,) = parse(settings(text), "f").endpoints
    assert endpoint.query == {"api-version": "2026-07-15", "stream": "true"}
    assert endpoint.headers == {"X-Kiosk": "lobby 2", "OpenAI-Beta": "realtime=v2"}
    assert endpoint.mint == Mint(MintKind.BROKER, "https://broker.example/kiosk", 5)
    assert parse(settings("mint: {url: http://127.0.0.1/x}"), "f")
    assert parse(settings("mint: {url: http://h.lan/x}\n    plain_text_allowed: true"), "f")


def test_pins_are_those_that_gpiozero_knows() -> None:
    factory = MockFactory()
    names: list[int | str] = [*range(28), "17"]
    names += [f"{prefix}{number}" for prefix in ("GPIO", "BCM", "BOARD", "J8:") for number in range(45)]
    for name in names:
        try:
            known = factory.pin(name).info.name
        except ValueError:
            known = None
        number = bcm_number(name)
        assert (None if number is None else f"GPIO{number}") == known, name


def test_the_owners_button_needs_a_pin_of_its_own() -> None:
    problem = the_problem(settings(rest="panel: {owner_button: {pin: GPIO17}}"))
    assert problem.key == "panel.owner_button.pin"
    assert "already used by panel.button.pin" in problem.message


@pytest.mark.parametrize("echo", ["gate", "server", "hardware", "software"])
def test_a_sound_for_listening_needs_a_canceller(echo: str) -> None:
    text = settings(rest=f"audio:\n  echo: {echo}\n  sounds:\n    listening: tone")
    if echo in ("hardware", "software"):
        assert parse(text, "f").audio.sounds.listening == "tone"
    else:
        problem = the_problem(text)
        assert (problem.line, problem.key) == (8, "audio.sounds.listening")


@pytest.mark.parametrize(("daily_at", "right"), [("none", True), ("00:00", True), ("4:00", False), ("24:00", False)])
def test_a_self_test_is_at_a_time_of_day_or_never(daily_at: str, right: bool) -> None:
    text = settings(rest=f'audio:\n  self_test:\n    daily_at: "{daily_at}"')
    if right:
        assert parse(text, "f").audio.self_test.daily_at == daily_at
    else:
        assert the_problem(text).key == "audio.self_test.daily_at"


def chat(*lines: str) -> str:
    """An endpoint of the kind chat; `lines` begin at line 6."""
    text = "endpoints:\n  - name: texts\n    kind: chat\n    url: https://relay.example/v1/chat\n    model: m\n"
    return text + "".join(f"    {line}\n" for line in lines)


def local(*lines: str) -> str:
    """An endpoint of the kind local; `lines` begin at line 4."""
    return "endpoints:\n  - name: here\n    kind: local\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("transport: websocket", "url", "must begin with wss://"),
        ("mint: {}", "mint", "means nothing to an endpoint of the kind chat"),
        ("hearing: {url: wss://relay.example/x}", "hearing.url", "must begin with https://"),
        ("hearing: {url: http://relay.example/x}", "hearing.url", "what was said unencrypted"),
        ('hearing: {url: "https://relay.example/x?key=1"}', "hearing.url", "does not belong into this file"),
        ("hearing: {url: no}", "hearing.url", "different things"),
        ("hearing: {url: words}", "hearing.url", "audio/transcriptions"),
        ("speech: {url: words}", "speech.url", "audio/speech"),
        ("hearing: {url: https://other.example/x}", "hearing.url", "to which this endpoint's key would go"),
        ("speech: {url: https://other.example/x}", "speech.url", "give it its own by speech.key"),
        ("speech: {by: local, url: https://relay.example/x}", "speech.url", "means nothing where speech.by is local"),
        ("hearing: {by: local}", "hearing.grammar", "is missing"),
        ("hearing: {by: local, grammar: faq.yaml}", "hearing.grammar", "beginning with /"),
        ("hearing: {by: local, grammar: /nowhere/faq.yaml}", "hearing.grammar", "/nowhere/faq.yaml"),
        ("hearing: {grammar: /faq.yaml}", "hearing.grammar", "set hearing.by: local"),
        ("hearing: {key: {file: key}}", "hearing.key.file", "beginning with /"),
        ("speech: {key: {credential: a/b}}", "speech.key.credential", "no slash"),
        ("temperature: 2.5", "temperature", "from 0 to 2"),
    ],
)
def test_what_a_text_model_needs_around_it(line: str, key: str, says: str) -> None:
    problem = the_problem(chat(line))
    assert (problem.line, problem.key) == (4 if key == "url" else 6, f"endpoints[0].{key}")
    assert says in problem.message


def test_a_text_model_may_be_freer_than_a_voice() -> None:
    assert parse(chat("temperature: 1.9"), "f").endpoints[0].temperature == 1.9
    problem = the_problem(settings("temperature: 1.9\n    dialect: beta"))
    assert (problem.line, problem.key) == (5, "endpoints[0].temperature") and "from 0.6 to 1.2" in problem.message


@pytest.mark.parametrize(
    ("line", "number", "key", "says"),
    [
        ("", 2, "faq", "is missing"),
        ("faq: faq.yaml", 4, "faq", "beginning with /"),
        ("faq: /nowhere/faq.yaml", 4, "faq", "/nowhere/faq.yaml"),
        ("model: m\n    faq: FILE", 4, "model", "means nothing to an endpoint of the kind local"),
        ("url: wss://a/\n    faq: FILE", 4, "url", "means nothing to an endpoint of the kind local"),
    ],
)
def test_what_this_machine_needs_to_answer(tmp_path: Path, line: str, number: int, key: str, says: str) -> None:
    (tmp_path / "faq.yaml").touch()
    problem = the_problem(local(*filter(None, [line.replace("FILE", str(tmp_path / "faq.yaml"))])))
    assert (problem.line, problem.key) == (number, f"endpoints[0].{key}") and says in problem.message


def test_this_machine_needs_neither_address_nor_model_nor_key(tmp_path: Path) -> None:
    (tmp_path / "faq.yaml").touch()
    (endpoint,) = parse(local(f"faq: {tmp_path / 'faq.yaml'}"), "f").endpoints
    assert (endpoint.url, endpoint.model) == ("", "")


@pytest.mark.parametrize("kind", ["realtime", "responses", "chat", "audio-sse"])
def test_all_others_need_both(kind: str) -> None:
    keys = [problem.key for problem in problems_of(f"endpoints:\n  - name: a\n    kind: {kind}\n")]
    assert keys == ["endpoints[0].model", "endpoints[0].url"]
