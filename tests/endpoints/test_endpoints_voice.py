"""Hearing and speech over HTTP, against servers on loopback sockets: honest ones, slow ones, and nasty ones."""

from __future__ import annotations

import json
import re
import struct
import wave
from io import BytesIO

import pytest
import trio
import trio.testing
from attrs import evolve
from fake_peer import utterance
from hypothesis import given
from hypothesis import strategies as st
from text_servers import END, KEY, STREAM, chunk, event, http_server, reply, running

from kioskd.config.schema import Auth, Endpoint, EndpointKind, Hearing, Http, KeySource, Speech
from kioskd.endpoints.policy import Kind, NextEndpoint, OwnerMustAct, Wait, judge, told_wait_s
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.voice import hearing as hearing_module
from kioskd.endpoints.voice.hearing import HearingOverHttp
from kioskd.endpoints.voice.helper import hearing_endpoint, speech_endpoint
from kioskd.endpoints.voice.speech import CHARACTERS_MAX, SpeechOverHttp, WholeSamples, parts_of
from kioskd.endpoints.voice.wav import wav_of

QUESTION = bytes(range(256)) * 100
SOUND = bytes(range(200)) * 50
RAW = b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nTransfer-Encoding: chunked\r\n\r\n"
GUARD_S = 20
DELTAS = [{"type": "transcript.text.delta", "delta": part} for part in ("Where is", " the", " exit?")]
DONE = {"type": "transcript.text.done", "text": "Where is the exit?"}


def sends(*pieces, stays=False, closes=False):
    """A server that answers every request with these bytes."""

    async def handle(asked, stream):
        for piece in pieces:
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked(0.001)
        if stays:
            await trio.sleep_forever()
        if closes:
            await stream.aclose()

    return handle


def streamed(*events):
    return sends(STREAM + b"".join(chunk(event(one)) for one in events) + END)


async def use(make, handle, asks, **settings):
    """Ask a helper of a server that answers so; the requests that came. Raises what was raised, as it was."""
    error = None
    async with http_server(handle) as server, running(make(server.endpoint(**settings), lambda: KEY)) as helper:
        try:
            with trio.fail_after(GUARD_S):
                await asks(helper)
        except ModelError as raised:
            error = raised
    if error is not None:
        raise error
    return server.asked


async def hear(handle, pcm=QUESTION, partial=lambda _: None, language=None, times=1, **settings):
    texts = []

    async def asks(ears):
        for _ in range(times):
            texts.append(await ears.transcribe(utterance(1, pcm), partial))

    asked = await use(lambda *parts: HearingOverHttp(*parts, language), handle, asks, **settings)
    return texts[-1], asked


async def speak(handle, text="Hello.", times=1, taken=None, **settings):
    taken = [] if taken is None else taken

    async def asks(voice):
        for _ in range(times):
            await voice.speak(text, taken.append)

    return taken, await use(SpeechOverHttp, handle, asks, **settings)


async def failure_of(awaitable):
    with pytest.raises(ModelError) as caught:
        await awaitable
    failure = caught.value.failure
    assert KEY not in failure.message and "\n" not in failure.message
    return failure


def form_of(asked):
    """The fields of a multipart body: text, or (name of the file, bytes, type)."""
    boundary = re.search(r"boundary=(.+)", asked.headers["content-type"])[1].encode()
    fields = {}
    for part in asked.body.split(b"--" + boundary)[1:-1]:
        head, _, value = part[2:-2].partition(b"\r\n\r\n")
        head = head.decode()
        name, file = re.search(r'name="([^"]+)"', head)[1], re.search(r'filename="([^"]+)"', head)
        kind = re.search(r"Content-Type: (\S+)", head)
        fields[name] = (file[1], value, kind[1]) if file else value.decode()
    return fields


# -- hearing


async def test_the_question_goes_out_as_a_wav():
    text, (asked,) = await hear(streamed(*DELTAS, DONE), language="de-AT")
    assert text == "Where is the exit?"
    assert (asked.method, asked.target) == ("POST", "/v1/audio/transcriptions")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    form = form_of(asked)
    name, data, kind = form.pop("file")
    assert (name, kind) == ("question.wav", "audio/wav")
    assert form == {"model": "gpt-4o-mini-transcribe", "response_format": "json", "language": "de", "stream": "true"}
    with wave.open(BytesIO(data)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 24000)
        assert sound.readframes(10**9) == QUESTION


def test_a_wav_tells_its_format_and_its_length():
    head = wav_of(b"\1\2\3\4\5")
    assert head[:4] + head[8:16] == b"RIFFWAVEfmt " and head[36:40] == b"data"
    assert struct.unpack("<I", head[4:8]) == (len(head) - 8,)
    assert struct.unpack("<IHHIIHH", head[16:36]) == (16, 1, 1, 24_000, 48_000, 2, 16)
    assert struct.unpack("<I", head[40:44]) == (4,) and head[44:] == b"\1\2\3\4"


async def test_half_a_character_is_not_passed_on():
    for handle in (streamed({**DONE, "text": "\ud800 is half"}), sends(reply({"text": "\ud800 is half"}))):
        text, _ = await hear(handle)
        assert text.encode().endswith(b"is half")


async def test_what_is_written_so_far_is_told():
    partial = []
    await hear(streamed(*DELTAS, DONE), partial=partial.append)
    assert partial == ["Where is", "Where is the", "Where is the exit?"]


async def test_a_server_that_does_not_stream_answers_in_one_piece():
    text, (asked,) = await hear(sends(reply({"text": " Where? "})))
    assert text == "Where?"
    text, (asked,) = await hear(sends(reply({"text": "Where?"})), hearing=Hearing(stream=False))
    assert text == "Where?" and "stream" not in form_of(asked)


async def test_a_server_that_refuses_to_stream_is_asked_without_from_then_on():
    async def handle(asked, stream):
        refused = reply({"error": {"message": "Unknown parameter: 'stream'.", "param": "stream"}}, 400)
        await stream.send_all(refused if "stream" in form_of(asked) else reply({"text": "Where?"}))

    text, asked = await hear(handle, times=2)
    assert text == "Where?"
    assert ["stream" in form_of(one) for one in asked] == [True, False, False]


async def test_nothing_recorded_is_nothing_said():
    assert await hear(sends(), pcm=b"") == ("", [])


async def test_what_is_too_long_is_cut_to_what_the_endpoint_takes(monkeypatch):
    monkeypatch.setattr(hearing_module, "FILE_BYTES_MAX", 1000)
    _, (asked,) = await hear(streamed(DONE))
    assert len(form_of(asked)["file"][1]) == 1000


async def test_a_transcript_that_comes_byte_by_byte_is_the_same():
    data = b"".join(event(one) for one in (*DELTAS, DONE))
    text, _ = await hear(sends(STREAM, *[chunk(data[at : at + 1]) for at in range(0, len(data))], END))
    assert text == "Where is the exit?"


async def test_a_stream_that_a_proxy_has_collected_is_the_same():
    data = b"".join(event(one) for one in (*DELTAS, DONE))
    text, _ = await hear(sends(reply(data, kind="text/event-stream")))
    assert text == "Where is the exit?"


@pytest.mark.parametrize(
    ("handle", "kind"),
    [
        (sends(STREAM + chunk(event(DELTAS[0])), closes=True), Kind.LOST),
        (streamed(*DELTAS), Kind.LOST),
        (sends(closes=True), Kind.LOST),
        (sends(reply(b"<html>Please log in</html>", kind="text/html")), Kind.LOST),
        (sends(reply({"words": "?"})), Kind.LOST),
        (sends(reply([])), Kind.LOST),
        (sends(reply(b"{" * 100_000)), Kind.LOST),
        (streamed(DELTAS[0], {"error": {"message": f"{KEY} is overloaded", "code": "server_error"}}), Kind.ERROR),
        (streamed({"type": "error", "code": "server_error", "message": "overloaded"}), Kind.ERROR),
        (sends(reply({"error": {"message": "overloaded"}})), Kind.ERROR),
    ],
    ids=["cut", "no end", "closed", "portal", "no text", "list", "deep", "mid-stream", "flat", "error with 200"],
)
async def test_what_is_no_transcript_is_a_failure(handle, kind):
    assert (await failure_of(hear(handle))).kind is kind


BOTH = pytest.mark.parametrize("ask", [hear, speak])


@BOTH
async def test_a_bad_key_is_for_the_owner(ask):
    body = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}
    failure = await failure_of(ask(sends(reply(body, 401))))
    assert isinstance(judge(failure, 0, 0.0), OwnerMustAct)


@BOTH
@pytest.mark.parametrize(
    ("body", "headers", "wait_s"),
    [
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, {"Retry_After": "17"}, 17),
        ({"error": {"message": "slow down", "reset_seconds": 23}}, {}, 23),
        ({"error": {"code": 429, "message": "Rate limit exceeded. Retry after 60 seconds"}}, {}, 60),
        ({"error": {"message": "slow down"}}, {}, None),
    ],
)
async def test_too_many_requests_wait_as_long_as_told(ask, body, headers, wait_s):
    failure = await failure_of(ask(sends(reply(body, 429, **headers))))
    verdict = judge(failure, 0, 0.0)
    assert isinstance(verdict, Wait) and told_wait_s(failure) == wait_s


@BOTH
async def test_a_broken_server_is_left_for_another(ask):
    assert isinstance(judge(await failure_of(ask(sends(reply(b"oops", 503)))), 0, 0.0), NextEndpoint)


@BOTH
async def test_no_key_is_a_failure_before_anything_is_sent(ask):
    def none():
        raise ValueError("no key found: file /etc/kioskd/key does not exist")

    for helper in (HearingOverHttp(Endpoint("a", "https://h/v1/x", "m"), none), SpeechOverHttp(Endpoint("a"), none)):
        assert (await failure_of(helper.check())).kind is Kind.KEY


@BOTH
@pytest.mark.parametrize("begins", [b"", STREAM, RAW])
async def test_silence_ends(ask, begins):
    http = Http(answer_timeout_s=0.2, stream_timeout_s=0.2, total_timeout_s=1)
    assert (await failure_of(ask(sends(begins, stays=True), http=http))).kind in (Kind.SILENCE, Kind.LOST)


@BOTH
async def test_a_body_of_100_mb_is_not_read_to_its_end(ask):
    sent = []

    async def handle(asked, stream):
        kind = b"audio/pcm" if asked.target.endswith("speech") else b"application/json"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nContent-Length: 104857600\r\n\r\n"
        await stream.send_all(head)
        for _ in range(100):
            await stream.send_all(bytes(2**20))
            sent.append(1)

    failure = await failure_of(ask(handle))
    assert failure.kind is Kind.LOST and "larger than" in failure.message
    assert len(sent) < 50


@BOTH
async def test_cancelled_it_hangs_up(ask):
    hung_up, asked_it = trio.Event(), trio.Event()

    async def handle(asked, stream):
        await stream.send_all(STREAM if "transcriptions" in asked.target else RAW)
        asked_it.set()
        while await stream.receive_some():
            pass
        hung_up.set()

    async def asks(helper):
        async with trio.open_nursery() as nursery:
            if ask is hear:
                nursery.start_soon(helper.transcribe, utterance(1), print)
            else:
                nursery.start_soon(helper.speak, "Hello.", print)
            await asked_it.wait()
            nursery.cancel_scope.cancel()
        await hung_up.wait()

    await use(HearingOverHttp if ask is hear else SpeechOverHttp, handle, asks)


# -- speech


async def test_a_text_is_spoken():
    taken, (asked,) = await speak(sends(RAW + chunk(SOUND) + END), speech=Speech(model="tts", voice="cedar"))
    assert b"".join(taken) == SOUND
    assert (asked.method, asked.target) == ("POST", "/v1/audio/speech")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json == {
        "model": "tts",
        "voice": "cedar",
        "input": "Hello.",
        "response_format": "pcm",
        "stream_format": "audio",
    }


async def test_sound_goes_on_as_it_comes():
    first, release = trio.Event(), trio.Event()

    async def handle(asked, stream):
        await stream.send_all(RAW + chunk(SOUND))
        await release.wait()
        await stream.send_all(chunk(SOUND) + END)

    taken = []

    def take(pcm):
        taken.append(pcm)
        first.set()

    async def asks(voice):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(voice.speak, "Hello.", take)
            await first.wait()
            assert b"".join(taken) == SOUND
            release.set()

    await use(SpeechOverHttp, handle, asks)
    assert b"".join(taken) == 2 * SOUND


@pytest.mark.parametrize("size", [1, 3, 7, 4999])
async def test_a_piece_may_end_inside_a_sample(size):
    sound = SOUND[: 5000 if size > 100 else 600]
    pieces = [chunk(sound[at : at + size]) for at in range(0, len(sound), size)]
    taken, _ = await speak(sends(RAW, *pieces, END))
    assert b"".join(taken) == sound
    assert all(len(piece) % 2 == 0 and piece for piece in taken)


async def test_half_a_sample_at_the_end_is_none():
    taken, _ = await speak(sends(RAW + chunk(SOUND + b"\1") + END))
    assert b"".join(taken) == SOUND


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=20))
def test_samples_stay_whole(sound, cuts):
    taken, at = [], 0
    samples = WholeSamples(taken.append)
    for cut in (*sorted(cuts), len(sound)):
        samples.add(sound[at:cut])
        at = max(at, cut)
    samples.end()
    if not sound.startswith((b"RIFF", b"ID3", b"OggS", b"fLaC")):
        assert b"".join(taken) == sound[: len(sound) // 2 * 2]
    assert all(piece and len(piece) % 2 == 0 for piece in taken)


@pytest.mark.parametrize("kind", ["application/octet-stream", "audio/pcm; rate=24000", "audio/x-pcm"])
async def test_raw_sound_has_several_names(kind):
    taken, _ = await speak(sends(reply(SOUND, kind=kind)))
    assert b"".join(taken) == SOUND


@pytest.mark.parametrize(
    ("handle", "kind"),
    [
        (sends(reply(SOUND, kind="audio/mpeg")), Kind.SETTINGS),
        (sends(reply(wav_of(SOUND), kind="audio/wav")), Kind.SETTINGS),
        (sends(reply(wav_of(SOUND), kind="audio/pcm")), Kind.SETTINGS),
        (sends(RAW, chunk(b"R"), chunk(b"IF"), chunk(b"F" + SOUND), END), Kind.SETTINGS),
        (sends(reply(b"ID3" + SOUND, kind="application/octet-stream")), Kind.SETTINGS),
        (sends(reply(b"<html>Please log in</html>", kind="text/html")), Kind.LOST),
        (sends(reply({"error": {"message": "unknown voice", "code": "invalid_value"}})), Kind.ERROR),
        (sends(reply(b"{", kind="application/json")), Kind.LOST),
        (sends(reply(b"", kind="audio/pcm")), Kind.LOST),
        (sends(closes=True), Kind.LOST),
    ],
    ids=[
        "mp3",
        "wav",
        "wav called raw",
        "wav in pieces",
        "mp3 called raw",
        "portal",
        "error",
        "json",
        "empty",
        "closed",
    ],
)
async def test_what_is_no_sound_is_never_played(handle, kind):
    taken = []
    assert (await failure_of(speak(handle, taken=taken))).kind is kind
    assert taken == []


async def test_sound_that_breaks_off_is_lost_after_what_came():
    taken = []
    failure = await failure_of(speak(sends(RAW + chunk(SOUND), closes=True), taken=taken))
    assert failure.kind is Kind.LOST
    assert b"".join(taken) == SOUND


async def test_a_server_that_does_not_know_how_streams_are_named_is_asked_without():
    async def handle(asked, stream):
        if "stream_format" in asked.json:
            await stream.send_all(reply({"error": {"message": "Unrecognized request argument: stream_format"}}, 400))
        else:
            await stream.send_all(reply(SOUND, kind="audio/pcm"))

    taken, asked = await speak(handle, times=2)
    assert b"".join(taken) == 2 * SOUND
    assert ["stream_format" in one.json for one in asked] == [True, False, False]


async def test_what_is_longer_than_the_endpoint_takes_is_spoken_in_parts():
    text = "This is a sentence of some length. " * 300
    _, asked = await speak(sends(reply(SOUND, kind="audio/pcm")), text)
    inputs = [one.json["input"] for one in asked]
    assert len(inputs) == 3 and all(len(part) <= CHARACTERS_MAX for part in inputs)
    assert all(part.endswith(".") for part in inputs)
    assert " ".join(inputs) == text.strip()
    assert len({one.connection for one in asked}) == 1


@given(st.text(alphabet="ab .。\n", max_size=300), st.integers(1, 40))
def test_parts_hold_every_letter_once(text, limit):
    parts = list(parts_of(text, limit))
    assert all(0 < len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


# -- where they are, and whose key


CHAT = Endpoint(
    "a", "https://h.example/v1/chat/completions?x=1", "gpt-4.1", EndpointKind.CHAT, headers={"X-Tenant": "7"}
)


def test_they_are_at_the_endpoints_host():
    assert hearing_endpoint(CHAT).url == "https://h.example/v1/audio/transcriptions"
    assert speech_endpoint(CHAT).url == "https://h.example/v1/audio/speech"
    socket = evolve(CHAT, url="wss://h.example:8443/v1/responses")
    assert hearing_endpoint(socket).url == "https://h.example:8443/v1/audio/transcriptions"
    assert speech_endpoint(evolve(CHAT, url="ws://[::1]:80/v1/ws")).url == "http://[::1]:80/v1/audio/speech"
    assert hearing_endpoint(CHAT).headers == CHAT.headers


def test_a_key_in_a_sockets_address_is_a_header_where_there_can_be_one():
    socket = evolve(CHAT, url="wss://h.example/v1/stream", auth=Auth.QUERY)
    assert (hearing_endpoint(socket).auth, speech_endpoint(socket).auth) == (Auth.BEARER, Auth.BEARER)
    assert speech_endpoint(evolve(socket, auth=Auth.API_KEY_HEADER)).auth is Auth.API_KEY_HEADER


def test_another_host_gets_nothing_that_was_meant_for_the_first():
    own = KeySource(file="/etc/kioskd/other")
    there = evolve(
        CHAT,
        auth=Auth.QUERY,
        query={"tenant": "secret"},
        hearing=Hearing(url="https://other.example/asr", key=own),
        speech=Speech(url="https://h.example/tts"),
    )
    heard, spoken = hearing_endpoint(there), speech_endpoint(there)
    assert (heard.url, heard.key, heard.auth) == ("https://other.example/asr", own, Auth.AUTO)
    assert not heard.headers and not heard.query
    assert (spoken.key, spoken.auth, spoken.headers) == (there.key, Auth.QUERY, there.headers)


async def test_a_key_in_the_address_is_in_no_text():
    body = {"error": {"message": f"no model for api_key={KEY}"}}
    failure = await failure_of(hear(sends(reply(body, 404)), auth=Auth.QUERY))
    assert "no model" in failure.message
    _, (asked,) = await speak(sends(reply(SOUND, kind="audio/pcm")), auth=Auth.QUERY)
    assert asked.target == f"/v1/audio/speech?api_key={KEY}" and "authorization" not in asked.headers
    assert json.loads(asked.body)["input"] == "Hello."
