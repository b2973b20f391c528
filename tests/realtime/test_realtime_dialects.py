"""What we send is what the two dialects take: the types of the `openai` package are the reference."""

import json

import pytest
from attrs import evolve
from openai.types.beta.realtime import SessionUpdateEventParam as BetaSessionUpdate
from openai.types.beta.realtime.session_create_params import SessionCreateParams
from openai.types.realtime import RealtimeClientEventParam, SessionUpdateEventParam
from openai.types.realtime.client_secret_create_params import ClientSecretCreateParams
from pydantic import TypeAdapter, ValidationError

from kioskd.config.load import parse
from kioskd.config.profiles import names, read_profile
from kioskd.config.schema import Auth, Conversation, Dialect, Endpoint, MintKind, NoiseReduction
from kioskd.realtime import codec, dialects

GA = Endpoint(name="relay", url="wss://voice.example/v1/realtime", model="gpt-realtime")
BETA = evolve(GA, dialect=Dialect.BETA)
FULL = {
    "voice": "alloy",
    "noise_reduction": NoiseReduction.FAR_FIELD,
    "max_tokens": 1024,
    "temperature": 0.8,
    "transcription_model": "whisper-1",
}
TYPES = {Dialect.GA: SessionUpdateEventParam, Dialect.BETA: BetaSessionUpdate}


def check(kind, text):
    """Hold a text against a type of the openai package, unknown fields forbidden; return the event."""
    event = json.loads(text)
    TypeAdapter(kind).validate_python(event, strict=True, extra="forbid")
    return event


def session_of(settings, **conversation):
    text = codec.session_update(dialects.session_settings(settings, Conversation(**conversation)))
    event = json.loads(text)
    reference = json.loads(text)
    if settings.dialect is Dialect.BETA:
        del reference["session"]["turn_detection"]  # null is its documented "off", but not in the type
    check(TYPES[settings.dialect], json.dumps(reference))
    return event["session"]


@pytest.mark.parametrize("settings", [GA, evolve(GA, **FULL), BETA, evolve(BETA, **FULL)])
def test_the_settings_are_of_the_dialects_type_and_turn_detection_is_null(settings):
    session = session_of(settings, instructions="Grüß Gott", language="de")
    holder = session["audio"]["input"] if settings.dialect is Dialect.GA else session
    assert "turn_detection" in holder
    assert holder["turn_detection"] is None
    assert session["instructions"] == "Grüß Gott"


def test_ga_shape():
    session = session_of(evolve(GA, **FULL), language="de")
    assert session["output_modalities"] == ["audio"]
    assert session["max_output_tokens"] == 1024
    assert "temperature" not in session
    assert session["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"}
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "de"}
    assert session["audio"]["input"]["noise_reduction"] == {"type": "far_field"}


def test_beta_shape():
    session = session_of(evolve(BETA, **FULL))
    assert session["modalities"] == ["text", "audio"]
    assert (session["input_audio_format"], session["output_audio_format"]) == ("pcm16", "pcm16")
    assert (session["temperature"], session["max_response_output_tokens"]) == (0.8, 1024)
    assert session["input_audio_transcription"] == {"model": "whisper-1"}


def test_what_is_off_is_left_out():
    session = session_of(evolve(GA, transcription_model=None))
    assert set(session["audio"]["input"]) == {"format", "turn_detection"}
    assert set(session["audio"]["output"]) == {"format"}


@pytest.mark.parametrize(
    "text",
    [
        codec.append(b"\0\0"),
        codec.commit("commit-7"),
        codec.clear(),
        codec.create_response(7, "create-7"),
        codec.cancel_response("resp_1"),
        codec.cancel_response(None),
        codec.truncate("item_1", 0, 1500),
        codec.delete("item_1"),
    ],
)
def test_client_events_are_of_the_reference_types(text):
    check(RealtimeClientEventParam, text)


def test_the_reference_types_do_refuse():
    with pytest.raises(ValidationError):
        check(RealtimeClientEventParam, '{"type":"conversation.item.truncate","item_id":"item_1"}')


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://h/v1/realtime", "wss://h/v1/realtime?model=gpt-realtime"),
        ("wss://h/v1/realtime?model=other", "wss://h/v1/realtime?model=other"),
        ("wss://h/v1?stream=true", "wss://h/v1?stream=true&model=gpt-realtime"),
        (
            "wss://r.openai.azure.com/o?api-version=1&deployment=D",
            "wss://r.openai.azure.com/o?api-version=1&deployment=D",
        ),
    ],
)
def test_the_model_goes_into_the_address_once(url, expected):
    assert dialects.resource_url(evolve(GA, url=url)) == expected


def test_a_model_is_quoted():
    assert dialects.resource_url(evolve(GA, model="a b&c")).endswith("?model=a+b%26c")


def test_only_beta_has_the_beta_header():
    assert dialects.headers(GA, "k") == [(b"Authorization", b"Bearer k")]
    assert dialects.headers(BETA, "k") == [(b"Authorization", b"Bearer k"), (b"OpenAI-Beta", b"realtime=v1")]


def test_azure_has_its_own_header():
    assert dialects.headers(evolve(GA, url="wss://r.openai.azure.com/openai/v1/realtime"), "k") == [(b"api-key", b"k")]


@pytest.mark.parametrize("key", ["", "se cret", "secret\r\nX: y", "sécret", "secret\n"])
def test_a_key_that_fits_no_header_is_told_without_being_shown(key):
    with pytest.raises(ValueError, match="key of endpoint relay") as caught:
        dialects.headers(GA, key)
    assert not key or key.strip() not in str(caught.value)


# The ways in.

BEARER, API_KEY, BETA_LINE = (
    (b"Authorization", b"Bearer k"),
    (b"api-key", b"k"),
    (b"OpenAI-Beta", b"realtime=v1"),
)
AZURE = "wss://r.openai.azure.com/openai"
PROFILES = {
    "openai": ("", "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1", [BEARER]),
    "relay-beta": (
        "url: wss://h/v1/realtime",
        "wss://h/v1/realtime?model=gpt-4o-realtime-preview",
        [BEARER, BETA_LINE],
    ),
    "azure": (f"url: {AZURE}/v1/realtime, model: d", f"{AZURE}/v1/realtime?model=d", [API_KEY]),
    "azure-preview": (
        f"url: {AZURE}/realtime, model: d",
        f"{AZURE}/realtime?api-version=2025-04-01-preview&deployment=d",
        [API_KEY],
    ),
    "voice-live": (
        "url: wss://r.services.ai.azure.com/voice-live/realtime, model: gpt-4.1",
        "wss://r.services.ai.azure.com/voice-live/realtime?api-version=2026-07-15&model=gpt-4.1",
        [API_KEY],
    ),
    "holysheep": (
        "",
        "wss://api.holysheep.ai/v1/realtime?model=gpt-4o-realtime-preview",
        [BEARER, BETA_LINE],
    ),
    "smartaipi": (
        "url: wss://h/v1/realtime, model: m",
        "wss://h/v1/realtime?model=m",
        [BEARER, BETA_LINE],
    ),
}


def is_realtime(profile):
    root, _ = read_profile(profile)
    return "kind" not in {key.value for key, _ in root.value}


@pytest.mark.parametrize("profile", [name for name in names() if is_realtime(name)])
def test_each_profile_has_its_address_and_its_headers(profile):
    own, url, headers = PROFILES[profile]
    (settings,) = parse(f"endpoints: [{{name: relay, profile: {profile}, {own}}}]", "f").endpoints
    assert dialects.resource_url(settings) == url
    assert dialects.headers(settings, "k") == headers
    session_of(settings)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"auth": Auth.API_KEY_HEADER}, [API_KEY]),
        ({"auth": Auth.QUERY}, []),
        ({"auth": Auth.BEARER, "url": f"{AZURE}/v1/realtime"}, [BEARER]),
        ({"url": "wss://openai.azure.com.evil.example/"}, [BEARER]),
        ({"beta_header": True}, [BEARER, BETA_LINE]),
        ({"dialect": Dialect.BETA, "beta_header": False}, [BEARER]),
        ({"headers": {"X-Kiosk": "lobby 2"}}, [BEARER, (b"X-Kiosk", b"lobby 2")]),
        ({"beta_header": True, "headers": {"openai-beta": "x=v2"}}, [BEARER, (b"openai-beta", b"x=v2")]),
    ],
)
def test_headers_are_made_of_auth_beta_and_the_owners(changes, expected):
    assert dialects.headers(evolve(GA, **changes), "k") == expected


def test_the_key_goes_into_the_address_only_where_auth_says_so():
    url = "wss://h/v1/stream?model=m&api_key=old"
    assert dialects.with_key(GA, url, "k") == url
    settings = evolve(GA, auth=Auth.QUERY)
    assert dialects.with_key(settings, url, "a+b/c=") == "wss://h/v1/stream?model=m&api_key=a%2Bb%2Fc%3D"
    assert dialects.with_key(evolve(settings, key_parameter="t"), "wss://h/", "k") == "wss://h/?t=k"


def test_the_addresss_own_parameters_go_before_those_of_the_settings():
    settings = evolve(GA, url="wss://h/x?a=1&b=", query={"a": "2", "b": "2", "c": "3 4"})
    assert dialects.resource_url(settings) == "wss://h/x?a=1&b=&c=3+4&model=gpt-realtime"
    assert dialects.resource_url(evolve(GA, query={"model": "n"})) == "wss://voice.example/v1/realtime?model=n"


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("wss://h/v1/realtime", MintKind.CLIENT_SECRET, "https://h/v1/realtime/client_secrets"),
        ("wss://h/v1/realtime/?model=m", MintKind.SESSION, "https://h/v1/realtime/sessions"),
        ("ws://127.0.0.1:8900/v1/realtime", MintKind.SESSION, "http://127.0.0.1:8900/v1/realtime/sessions"),
        ("wss://h/o?api-version=1&deployment=d", MintKind.SESSION, "https://h/o/sessions?api-version=1"),
    ],
)
def test_where_an_endpoint_mints_follows_from_its_address(url, kind, expected):
    assert dialects.mint_url(evolve(GA, url=url), kind) == expected


def test_what_is_minted_is_of_the_reference_types():
    for settings in (GA, BETA):
        check(ClientSecretCreateParams, json.dumps(dialects.mint_body(settings, MintKind.CLIENT_SECRET)))
        known = evolve(settings, model="gpt-4o-realtime-preview")  # the type lists OpenAI's own
        check(SessionCreateParams, json.dumps(dialects.mint_body(known, MintKind.SESSION)))
    assert dialects.mint_body(GA, MintKind.BROKER) == dialects.mint_body(GA, MintKind.CLIENT_SECRET)
    assert dialects.mint_body(BETA, MintKind.BROKER) == {"model": "gpt-realtime"}
