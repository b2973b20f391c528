"""Sound both ways over plain HTTPS, against servers on loopback sockets; and its chunks, however they are cut."""

from __future__ import annotations

import base64
import itertools
import json
import wave
from io import BytesIO

import pytest
import trio
import trio.testing
from fake_peer import utterance
from hypothesis import given
from hypothesis import strategies as st
from text_servers import END, KEY, STREAM, chunk, event, http_server, reply, running

from kioskd.config.schema import Conversation, EndpointKind, Http
from kioskd.dialogue.events import Speaker, Usage
from kioskd.endpoints.answering import Finished, Question, Sound, Words
from kioskd.endpoints.audio_chunks import Remembered, Spoken, SpokenAnswer, Transcribed
from kioskd.endpoints.audio_sse import AudioSse
from kioskd.endpoints.policy import Kind, OwnerMustAct, judge
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.toolbox import ROUNDS_MAX, ToolCall, ToolOffer
from kioskd.realtime.replay import CONTINUE, Said

GUARD_S = 20
QUESTION = bytes(range(256)) * 40
SOUND = bytes(range(240)) * 20
CREATED = 1_700_000_000
USAGE = {
    "choices": [],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"audio_tokens": 60, "text_tokens": 40, "cached_tokens": 10},
        "completion_tokens_details": {"audio_tokens": 35, "text_tokens": 15},
    },
}
COUNTED = Usage(7, input_text=40, input_audio=60, cached_text=10, output_text=15, output_audio=35)


def part(finish=None, **audio):
    delta = {"audio": audio} if audio else {}
    return {"id": "c1", "created": CREATED, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def b64(pcm):
    return base64.b64encode(pcm).decode()


def spoken(text="The exit is on the left.", pcm=SOUND, audio_id="audio_1", lasts_s=3600, finish="stop"):
    half = len(pcm) // 2
    words = text.split(" ", 1)
    return [
        part(id=audio_id, transcript=words[0]),
        part(data=b64(pcm[:half])),
        part(transcript=" " + words[1]),
        part(data=b64(pcm[half:])),
        part(expires_at=CREATED + lasts_s),
        *([part(finish)] if finish else []),
        USAGE,
        "[DONE]",
    ]


def says(*tellings, ends=END, status=200):
    """A server that answers the first request with the first of them, and so on; bytes are sent as they are."""
    left = list(tellings)

    async def handle(asked, stream):
        telling = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(telling, bytes):
            await stream.send_all(telling)
        else:
            await stream.send_all(STREAM + b"".join(chunk(event(one)) for one in telling) + ends)
        if not ends:
            await stream.aclose()

    return handle


class Asker:
    """Asks an endpoint; keeps what it said and what it was asked."""

    def __init__(self, toolbox=None, **settings):
        self.settings = {"kind": EndpointKind.AUDIO_SSE, "voice": "cedar", **settings}
        self.toolbox = toolbox
        self.events = []

    async def run(self, handle, *questions, between=None):
        error, finished = None, []
        async with http_server(handle) as server:
            self.asked = server.asked
            settings = server.endpoint(**self.settings)
            answerer = AudioSse(settings, lambda: KEY, Conversation(instructions="Be brief."), self.toolbox)
            async with running(answerer):
                try:
                    with trio.fail_after(GUARD_S):
                        for question in questions or (Question(7, utterance(7, QUESTION), ()),):
                            finished.append(await answerer.answer(question, self.events.append))
                            if between:
                                between(answerer)
                except ModelError as raised:
                    error = raised
        if error is not None:
            assert KEY not in error.failure.message
            raise error
        return finished

    @property
    def words(self):
        return "".join(one.text for one in self.events if isinstance(one, Words))

    @property
    def sound(self):
        return b"".join(one.pcm for one in self.events if isinstance(one, Sound))

    @property
    def usage(self):
        return [one for one in self.events if isinstance(one, Usage)]


async def failure_of(*arguments, **settings):
    asker = Asker(**settings)
    with pytest.raises(ModelError) as caught:
        await asker.run(*arguments)
    return caught.value.failure


async def test_a_question_goes_out_as_sound_and_its_answer_comes_as_sound():
    asker = Asker(max_tokens=200)
    assert await asker.run(says(spoken())) == [Finished.COMPLETE]
    assert asker.sound == SOUND and asker.words == "The exit is on the left." and asker.usage == [COUNTED]
    (asked,) = asker.asked
    body = asked.json
    assert asked.headers["authorization"] == f"Bearer {KEY}" and asked.headers["accept"] == "text/event-stream"
    assert body["modalities"] == ["text", "audio"] and body["audio"] == {"voice": "cedar", "format": "pcm16"}
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True}
    assert body["max_tokens"] == 200 and "tools" not in body
    system, question = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    (piece,) = question["content"]
    assert piece["type"] == "input_audio" and piece["input_audio"]["format"] == "wav"
    with wave.open(BytesIO(base64.b64decode(piece["input_audio"]["data"]))) as sound:
        assert (sound.getframerate(), sound.readframes(10**9)) == (24000, QUESTION)


async def test_sound_goes_on_as_it_comes():
    heard, release = trio.Event(), trio.Event()

    async def handle(asked, stream):
        await stream.send_all(STREAM + chunk(event(part(data=b64(SOUND)))))
        await release.wait()
        await stream.send_all(chunk(event(part("stop"))) + chunk(event("[DONE]")) + END)

    asker = Asker()

    class Events(list):
        def append(self, one):
            super().append(one)
            heard.set()

    asker.events = Events()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asker.run, handle)
        with trio.fail_after(GUARD_S):
            await heard.wait()
        assert asker.sound == SOUND
        release.set()


def follow_up(words="The exit is on the left."):
    said = (Said(Speaker.VISITOR, pcm=QUESTION), Said(Speaker.KIOSK, words))
    return Question(8, utterance(8, QUESTION), said)


FIRST = Question(7, utterance(7, QUESTION), ())


async def test_the_next_question_names_the_answer_before_by_its_sound():
    asker = Asker()
    await asker.run(says(spoken()), FIRST, follow_up())
    _, first, answer, second = asker.asked[1].json["messages"]
    assert answer == {"role": "assistant", "audio": {"id": "audio_1"}}
    assert first["content"][0]["type"] == second["content"][0]["type"] == "input_audio"


WITHOUT_TIME = [one for one in spoken() if "expires_at" not in json.dumps(one)]


@pytest.mark.parametrize(
    ("telling", "words", "between"),
    [
        (spoken(lasts_s=10), "The exit is on the left.", None),
        (spoken(), "The exit … [interrupted about here]", None),
        (spoken(), "The exit is on the left.", AudioSse.forget),
        (
            [one for one in spoken() if one is USAGE or "expires_at" not in json.dumps(one)],
            "The exit is on the left.",
            None,
        ),
    ],
    ids=["expired", "interrupted", "forgotten", "for how long is not told"],
)
async def test_what_is_not_kept_there_is_told_in_words(telling, words, between):
    asker = Asker()
    await asker.run(says(telling, spoken()), FIRST, follow_up(words), between=between)
    assert asker.asked[1].json["messages"][2] == {"role": "assistant", "content": words}


async def test_an_answer_that_is_gone_there_is_told_in_words_at_once():
    asker = Asker()
    gone = reply({"error": {"message": "Audio audio_1 not found or expired", "code": "invalid_value"}}, 404)
    assert await asker.run(says(spoken(), gone, spoken()), FIRST, follow_up()) == [Finished.COMPLETE] * 2
    told = [one.json["messages"][2] for one in asker.asked[1:]]
    assert told == [
        {"role": "assistant", "audio": {"id": "audio_1"}},
        {"role": "assistant", "content": "The exit is on the left."},
    ]


async def test_a_question_in_words_and_a_wish_for_the_rest():
    asker = Asker()
    said = (Said(Speaker.VISITOR, "Hello"), Said(Speaker.KIOSK, "Good … [cut off]"))
    await asker.run(says(spoken()), Question(7, None, said))
    assert asker.asked[0].json["messages"][1:] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good … [cut off]"},
        {"role": "user", "content": CONTINUE},
    ]


@pytest.mark.parametrize(
    ("telling", "ends", "finished"),
    [
        (spoken(finish="length"), END, Finished.TRUNCATED),
        (spoken(finish="content_filter"), END, Finished.TRUNCATED),
        (spoken(finish=None), END, Finished.CUT),
        (spoken(finish=None)[:3], END, Finished.CUT),
        (spoken()[:3], b"", Finished.CUT),
    ],
    ids=["length", "filter", "done without reason", "end without anything", "disconnect"],
)
async def test_how_an_answer_ends(telling, ends, finished):
    asker = Asker()
    assert await asker.run(says(telling, ends=ends)) == [finished]
    assert asker.sound and SOUND.startswith(asker.sound)


async def test_a_model_that_ends_before_its_first_sound_is_no_lost_connection():
    assert await Asker().run(says([part("content_filter"), "[DONE]"])) == [Finished.TRUNCATED]


ERROR = {"error": {"message": f"overloaded {KEY}", "code": "server_error"}}


@pytest.mark.parametrize(
    ("handle", "kind"),
    [
        (says([], ends=b""), Kind.LOST),
        (says(["[DONE]"]), Kind.LOST),
        (says([part(id="a", transcript="Well")], ends=b""), Kind.LOST),
        (says([ERROR]), Kind.ERROR),
        (says([*spoken()[:3], ERROR]), Kind.ERROR),
        (says(reply(b"<html>", kind="text/html")), Kind.LOST),
        (says(reply({"error": {"message": "bad", "code": "invalid_api_key"}}, 401)), Kind.ERROR),
        (says([{"choices": [{"delta": {"content": "In words."}}]}, part("stop")]), Kind.SETTINGS),
    ],
    ids=["nothing", "done", "words only, cut", "error", "error in the middle", "portal", "key", "no voice"],
)
async def test_what_is_no_answer_is_a_failure(handle, kind):
    assert (await failure_of(handle)).kind is kind


async def test_a_bad_key_is_for_the_owner():
    failure = await failure_of(says(reply({"error": {"message": f"Incorrect API key: {KEY}"}}, 401)))
    assert isinstance(judge(failure, 0, 0.0), OwnerMustAct)


async def test_silence_ends():
    async def handle(asked, stream):
        await stream.send_all(STREAM + chunk(event(part(data=b64(SOUND)))))
        await trio.sleep_forever()

    asker = Asker(http=Http(answer_timeout_s=1, stream_timeout_s=0.2, total_timeout_s=5))
    assert await asker.run(handle) == [Finished.CUT]


async def test_a_body_of_100_mb_is_not_read_to_its_end():
    async def handle(asked, stream):
        await stream.send_all(STREAM)
        for _ in range(1600):
            await stream.send_all(chunk(event(part(data=b64(bytes(48 * 1024))))))

    asker = Asker()
    assert await asker.run(handle) == [Finished.CUT]
    assert len(asker.sound) < 30 * 2**20


async def test_a_stream_that_a_proxy_has_collected_and_an_answer_in_one_piece_are_the_same():
    collected = reply(b"".join(event(one) for one in spoken()), kind="text/event-stream")
    message = {"content": None, "audio": {"id": "a", "data": b64(SOUND), "transcript": "Hello.", "expires_at": CREATED}}
    whole = {"created": CREATED, "choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE["usage"]}
    for telling in (collected, reply(whole)):
        asker = Asker()
        assert await asker.run(says(telling)) == [Finished.COMPLETE]
        assert asker.sound == SOUND and asker.words and asker.usage == [COUNTED]


async def test_a_relay_that_counts_no_stream_is_asked_without():
    refused = reply({"error": {"message": "unknown field stream_options"}}, 400)
    asker = Asker()
    await asker.run(says(refused, spoken()), FIRST, FIRST)
    assert ["stream_options" in one.json for one in asker.asked] == [True, False, False]


async def test_cancelled_it_hangs_up():
    hung_up, asker = trio.Event(), Asker()

    async def handle(asked, stream):
        await stream.send_all(STREAM + chunk(event(part(data=b64(SOUND)))))
        while await stream.receive_some():
            pass
        hung_up.set()

    async with http_server(handle) as server, trio.open_nursery() as nursery:
        answerer = AudioSse(server.endpoint(), lambda: KEY, Conversation())

        class Events(list):
            def append(self, one):
                scope.cancel()

        nursery.start_soon(answerer.run)
        with trio.fail_after(GUARD_S):
            with trio.CancelScope() as scope:
                await answerer.answer(FIRST, Events().append)
            assert scope.cancelled_caught
            await hung_up.wait()
        nursery.cancel_scope.cancel()
    assert asker.events == []


# -- tools


class Tools:
    offers = (ToolOffer("lights", "Switches the lights", {"type": "object"}),)

    def __init__(self):
        self.calls = []

    async def call(self, turn, call):
        self.calls.append((turn, call))
        return '{"done": true}'


def wants_lights():
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "lights", "arguments": "{}"}}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
    return [{"id": "c1", "choices": [choice]}, part("tool_calls"), USAGE, "[DONE]"]


async def test_a_tool_is_called_and_its_result_is_told():
    tools = Tools()
    asker = Asker(tools)
    assert await asker.run(says(wants_lights(), spoken())) == [Finished.COMPLETE]
    assert tools.calls == [(7, ToolCall("call_1", "lights", "{}"))]
    assert asker.asked[0].json["tools"][0]["function"]["name"] == "lights"
    calls, result = asker.asked[1].json["messages"][2:]
    assert calls["tool_calls"][0]["function"] == {"name": "lights", "arguments": "{}"}
    assert result == {"role": "tool", "tool_call_id": "call_1", "content": '{"done": true}'}
    assert asker.usage == [Usage(7, 80, 120, 20, 0, 30, 70)] and asker.sound == SOUND


async def test_a_model_that_goes_round_in_circles_is_stopped():
    asker = Asker(Tools())
    assert await asker.run(says(wants_lights())) == [Finished.TRUNCATED]
    assert len(asker.asked) == ROUNDS_MAX + 1


# -- chunks


def read(*chunks):
    answer = SpokenAnswer(1)
    found = []
    for one in chunks:
        answer.feed(one if isinstance(one, str) else json.dumps(one))
        found += answer.heard()
    sound = b"".join(one.pcm for one in found if isinstance(one, Spoken))
    assert all(len(one.pcm) % 2 == 0 and one.pcm for one in found if isinstance(one, Spoken))
    return sound, "".join(one.text for one in found if isinstance(one, Transcribed)), answer


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_pieces_of_any_length_make_one_sound(pcm, cuts):
    edges = [0, *sorted(min(cut, len(pcm)) for cut in cuts), len(pcm)]
    pieces = [pcm[low:high] for low, high in itertools.pairwise(edges)]
    assert read(*[part(data=b64(piece)) for piece in pieces])[0] == pcm[: len(pcm) // 2 * 2]


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=10))
def test_base64_that_is_cut_anywhere_is_one_sound(pcm, cuts):
    text = b64(pcm)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[low:high] for low, high in itertools.pairwise(edges)]
    assert read(*[part(data=piece) for piece in pieces])[0] == pcm[: len(pcm) // 2 * 2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["delta", "audio", "data", "id", "choices", "transcript", "expires_at"]), inner
        )
    ),
)


@given(JSON, JSON)
def test_nonsense_says_nothing_and_breaks_nothing(audio, delta):
    read(part(id="a", transcript="x"), {"choices": [{"delta": {"audio": audio}}]}, {"choices": [{"delta": delta}]})
    read({"created": audio, "choices": audio}, json.dumps(delta))


def test_sound_that_is_no_base64_is_left_out():
    for nonsense in ("!!!!", "000\x80", "====", "\ud800abc"):
        assert read(part(data=nonsense), part(data=b64(b"\1\2")))[0] == b"\1\2"


def test_half_a_character_is_not_passed_on():
    read(part(transcript="\ud800 is half"))[1].encode()


def test_of_the_same_words_the_newest_counts():
    kept = Remembered()
    for audio_id in ("a", "b"):
        kept.note(read(*spoken("Yes it is.", audio_id=audio_id)[:6])[2], 100.0)
    assert kept.id_of("Yes it is.", 100.0) == "b"
    assert kept.id_of("Yes it is.", 100.0 + 3600) is None
    assert kept.id_of("No.", 100.0) is None
