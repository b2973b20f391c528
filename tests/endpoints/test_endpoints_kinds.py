"""Which module answers for which kind, who may know which key, and that a kind loads nothing that it doesn't need."""

from __future__ import annotations

import subprocess
import sys

import pytest
from attrs import evolve

from kioskd.config.schema import (
    By,
    Conversation,
    Endpoint,
    EndpointKind,
    Hearing,
    KeySource,
    Speech,
    Transport,
    in_order,
)
from kioskd.endpoints.history import History
from kioskd.endpoints.kinds import Locals, make_answerer, make_endpoint
from kioskd.endpoints.on_site import OnSite, SiteEars
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.turnwise import TurnwiseEndpoint

TALK = Conversation(language="de")
SOCKET, PLAIN = "wss://relay.example/v1/x", "https://relay.example/v1/chat/completions"
HERE = Locals(lambda faq: ("site of", faq), None)  # type: ignore[arg-type, return-value]
KINDS = {
    "realtime": Endpoint("e", SOCKET, "m"),
    "responses": Endpoint("e", SOCKET, "m", EndpointKind.RESPONSES),
    "chat over sse": Endpoint("e", PLAIN, "m", EndpointKind.CHAT),
    "chat, plain": Endpoint("e", PLAIN, "m", EndpointKind.CHAT, transport=Transport.PLAIN),
    "chat over a socket": Endpoint("e", SOCKET, "m", EndpointKind.CHAT, transport=Transport.WEBSOCKET),
    "audio over sse": Endpoint("e", PLAIN, "m", EndpointKind.AUDIO_SSE),
    "local": Endpoint("e", kind=EndpointKind.LOCAL, faq="/faq.yaml"),
}
PARTS = {
    "responses": ("Cascade", "ResponsesOverSocket"),
    "chat over sse": ("Cascade", "ChatOverHttp"),
    "chat, plain": ("Cascade", "ChatOverHttp"),
    "chat over a socket": ("Cascade", "ChatOverSocket"),
    "audio over sse": ("AudioSse", None),
    "local": ("OnSite", None),
}


def no_key(endpoint: Endpoint) -> str:
    raise AssertionError("no key is read before it is needed")


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_its_endpoint(name: str) -> None:
    made = make_endpoint(KINDS[name], TALK, no_key, History(TALK), HERE)
    assert type(made) is (RealtimeEndpoint if name == "realtime" else TurnwiseEndpoint)
    assert made.status.endpoint == "e"


@pytest.mark.parametrize("name", PARTS)
def test_each_kind_has_its_answerer_and_its_wire(name: str) -> None:
    answerer = make_answerer(KINDS[name], TALK, no_key, HERE)
    kind, wire = PARTS[name]
    assert type(answerer).__name__ == kind
    if wire is not None:
        assert type(answerer._model).__name__ == wire  # type: ignore[attr-defined]


def test_hearing_and_speech_are_configured_apart() -> None:
    here = evolve(KINDS["chat over sse"], hearing=Hearing(by=By.LOCAL, grammar="/q.yaml"), speech=Speech(by=By.LOCAL))
    answerer = make_answerer(here, TALK, no_key, HERE)
    assert isinstance(answerer._ears, SiteEars)  # type: ignore[attr-defined]
    assert answerer._ears._site == ("site of", "/q.yaml")  # type: ignore[attr-defined]
    assert type(answerer._voice).__name__ == "LocalVoice"  # type: ignore[attr-defined]


def test_a_site_is_that_of_its_file() -> None:
    answerer = make_answerer(KINDS["local"], TALK, no_key, Locals(lambda faq: Tongue(faq), None))  # type: ignore[arg-type, return-value]
    assert isinstance(answerer, OnSite) and answerer._site.faq == "/faq.yaml"  # type: ignore[attr-defined]


class Tongue:
    """A site that knows its file."""

    language = "en"

    def __init__(self, faq: str) -> None:
        self.faq = faq


def test_a_changed_key_of_any_helper_is_seen() -> None:
    keys = {"own": "a", "ears": "b", None: "c"}
    settings = evolve(
        KINDS["chat over sse"],
        key=KeySource(credential="own"),
        hearing=Hearing(key=KeySource(credential="ears")),
    )
    made = make_endpoint(settings, TALK, lambda each: keys[each.key.credential], History(TALK), HERE)
    assert isinstance(made, TurnwiseEndpoint)
    made._key = made._read_key()
    assert not made._has_new_key()
    keys["ears"] = "d"
    assert made._has_new_key()


def test_this_machine_is_the_last_resort_unless_the_owner_wants_it_elsewhere() -> None:
    here, relay, spare = KINDS["local"], KINDS["realtime"], KINDS["chat over sse"]
    assert in_order([here, relay, spare]) == (relay, spare, here)
    kept = evolve(here, keep_place=True)
    assert in_order([kept, relay, spare]) == (kept, relay, spare)
    assert in_order([relay, kept, spare]) == (relay, kept, spare)


@pytest.mark.parametrize(
    ("name", "loads"), [("realtime", False), ("local", False), ("chat over a socket", True), ("chat over sse", True)]
)
def test_what_a_kind_does_not_need_is_not_loaded(name: str, loads: bool) -> None:
    program = f"""
import sys
sys.path.insert(0, "tests/endpoints")
from test_endpoints_kinds import HERE, KINDS, TALK, History, Locals, Tongue, make_endpoint
made = make_endpoint(KINDS[{name!r}], TALK, lambda e: "k", History(TALK), Locals(Tongue, None))
if {name!r} != "realtime":
    made._make(KINDS[{name!r}], TALK)
print("httpx" in sys.modules, "pocketsphinx" in sys.modules, "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(loads), "False", "False"]


def test_a_kiosk_on_the_realtime_wire_loads_no_other_kind() -> None:
    program = """
import sys
from kioskd.composition import build_endpoint
from kioskd.config.schema import Conversation, Endpoint
build_endpoint([Endpoint("e", "wss://relay.example/v1/x", "m")], Conversation())
print(*(name for name in sys.modules if name.startswith("kioskd.endpoints.")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("kioskd.endpoints.") for name in done.stdout.split()}
    assert "realtime" in loaded and not loaded & {"turnwise", "cascade", "on_site", "mint", "text.model", "audio_sse"}
