"""Every event of the wire in both vocabularies, whatever is wrong with it."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from kioskd.realtime import codec, wire

PCM = bytes(range(200))
B64 = base64.b64encode(PCM).decode()
IDS = {"response_id": "resp_1", "item_id": "item_2", "output_index": 0, "content_index": 0}
ITEM = {"id": "item_2", "type": "message", "role": "assistant", "status": "completed", "content": []}
USAGE = {
    "total_tokens": 79,
    "input_tokens": 16,
    "output_tokens": 63,
    "input_token_details": {
        "text_tokens": 6,
        "audio_tokens": 10,
        "cached_tokens": 5,
        "cached_tokens_details": {"text_tokens": 2, "audio_tokens": 3},
    },
    "output_token_details": {"text_tokens": 19, "audio_tokens": 44},
}
DONE = {
    "id": "resp_1",
    "object": "realtime.response",
    "status": "completed",
    "output": [],
    "usage": USAGE,
    "metadata": {"turn": "7"},
}
TOKENS = wire.Tokens(6, 10, 2, 3, 19, 44)

EITHER = [
    ({"type": "session.updated", "session": {"type": "realtime"}}, wire.SessionUpdated()),
    ({"type": "input_audio_buffer.committed", "item_id": "item_1"}, wire.Committed("item_1")),
    ({"type": "input_audio_buffer.committed"}, wire.Committed(None)),
    ({"type": "input_audio_buffer.cleared"}, wire.Ignored("input_audio_buffer.cleared")),
    ({"type": "response.created", "response": {"id": "resp_1", "metadata": None}}, wire.ResponseCreated("resp_1")),
    (
        {"type": "response.created", "response": {"id": "resp_1", "metadata": {"turn": "7"}}},
        wire.ResponseCreated("resp_1", "7"),
    ),
    (
        {"type": "response.output_item.added", "response_id": "resp_1", "output_index": 0, "item": ITEM},
        wire.ResponseProgress("resp_1", "item_2"),
    ),
    (
        {"type": "response.content_part.added", "part": {"type": "audio", "transcript": ""}, **IDS},
        wire.ResponseProgress("resp_1", "item_2"),
    ),
    ({"type": "response.done", "response": DONE}, wire.ResponseDone("resp_1", "completed", None, "7", None, TOKENS)),
    (
        {
            "type": "response.done",
            "response": {
                "id": "r",
                "status": "failed",
                "status_details": {"type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded"}},
            },
        },
        wire.ResponseDone("r", "failed", None, None, wire.ServerError("rate_limit_exceeded", "server_error")),
    ),
    (
        {"type": "response.done", "response": {"id": "r", "status": "incomplete", "status_details": {"reason": "x"}}},
        wire.ResponseDone("r", "incomplete", "x"),
    ),
    ({"type": "rate_limits.updated", "rate_limits": []}, wire.Ignored("rate_limits.updated")),
    (
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "item_1",
            "content_index": 0,
            "transcript": "Where is the toilet?",
            "usage": {"type": "duration", "seconds": 3},
        },
        wire.QuestionTranscript("item_1", "Where is the toilet?"),
    ),
    (
        {"type": "error", "error": {"type": "invalid_request_error", "code": "c", "message": "m", "event_id": "e"}},
        wire.ServerError("c", "invalid_request_error", "m", "e"),
    ),
    ({"type": "error", "error": {"type": "c", "code": None, "message": "m"}}, wire.ServerError(None, "c", "m")),
    ({"type": "error", "error": {"code": 429, "message": "m"}}, wire.ServerError("429", None, "m")),
    ({"type": "error", "error": "plain"}, wire.ServerError(message="plain")),
    ({"type": "error", "code": "flat", "message": "m"}, wire.ServerError("flat", None, "m")),
    ({"type": "ping"}, wire.Ignored("ping")),
    ({"type": "mcp_list_tools.in_progress"}, wire.Ignored("mcp_list_tools.in_progress")),
]
BY_VOCABULARY = [
    (
        ("response.output_audio.delta", "response.audio.delta"),
        {"delta": B64, **IDS},
        wire.AudioDelta("resp_1", "item_2", 0, PCM),
    ),
    (("response.output_audio.done", "response.audio.done"), IDS, wire.ResponseProgress("resp_1", "item_2")),
    (
        ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
        {"delta": "Hey", **IDS},
        wire.AnswerText("resp_1", "item_2", "Hey"),
    ),
    (
        ("response.output_audio_transcript.done", "response.audio_transcript.done"),
        {"transcript": "Hey there!", **IDS},
        wire.AnswerTranscript("resp_1", "item_2", "Hey there!"),
    ),
    (
        ("response.output_text.delta", "response.text.delta"),
        {"delta": "Hey", **IDS},
        wire.ResponseProgress("resp_1", "item_2"),
    ),
    (
        ("response.output_text.done", "response.text.done"),
        {"text": "Hey", **IDS},
        wire.ResponseProgress("resp_1", "item_2"),
    ),
    (
        ("conversation.item.added", "conversation.item.created"),
        {"previous_item_id": None, "item": ITEM},
        wire.ItemAdded("item_2", "assistant"),
    ),
]
SESSIONS = [
    {"type": "realtime", "id": "sess_1", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}},
    {"id": "sess_1", "modalities": ["text", "audio"], "turn_detection": {"type": "server_vad"}},
]


@pytest.mark.parametrize(
    ("event", "expected"), EITHER, ids=lambda value: value.get("type") if isinstance(value, dict) else ""
)
def test_events_that_both_vocabularies_share(event, expected):
    assert codec.parse(json.dumps(event)) == expected


@pytest.mark.parametrize("vocabulary", [0, 1], ids=["ga", "beta"])
@pytest.mark.parametrize(
    ("names", "fields", "expected"), BY_VOCABULARY, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_events_that_each_vocabulary_names_in_its_own_way(vocabulary, names, fields, expected):
    event = {"type": names[vocabulary], "event_id": "event_1", **fields}
    assert codec.parse(json.dumps(event)) == expected
    TypeAdapter((RealtimeServerEvent, BetaServerEvent)[vocabulary]).validate_python(event)  # no event of our invention


@pytest.mark.parametrize("session", SESSIONS, ids=["ga", "beta"])
def test_session_created_in_both_shapes(session):
    assert codec.parse(json.dumps({"type": "session.created", "session": session})) == wire.SessionCreated("sess_1")


def test_bytes_are_taken_like_text():
    assert codec.parse(b'{"type":"session.updated"}') == wire.SessionUpdated()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        "[]",
        "null",
        "17",
        "{}",
        '{"type":5}',
        b"\xff\xfe\xfd",
        "[" * 200_000,
        '{"type":"response.audio.delta","delta":"!!!"}',
        '{"type":"response.audio.delta","delta":"Zm9v\\u00e9"}',
        '{"type":"response.audio.delta","delta":5}',
        '{"type":"response.audio.delta","delta":"","response_id":{}}',
        '{"type":"response.audio.delta","delta":"","content_index":-1}',
        '{"type":"response.audio.delta","delta":"","content_index":NaN}',
        '{"type":"response.done","response":[]}',
        '{"type":"response.done","response":{"usage":7}}',
        '{"type":"response.done","response":{"metadata":{"turn":7}}}',
        '{"type":"error","error":7}',
        '{"type":"error","error":{"code":{}}}',
        '{"type":"conversation.item.added","item":"x"}',
    ],
)
def test_what_is_no_event_is_malformed(text):
    assert isinstance(codec.parse(text), wire.Malformed)


def test_a_reason_never_quotes_what_was_received():
    text = '{"type":"response.audio_transcript.done","transcript":["my secret"]}'
    assert "secret" not in codec.parse(text).reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["response_id", "item_id", "content_index", "delta", "transcript", "response", "item", "session", "error"]


@given(
    st.sampled_from([event["type"] for event, _ in EITHER] + [name for names, _, _ in BY_VOCABULARY for name in names]),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_no_field_of_any_type_raises(kind, fields):
    codec.parse(json.dumps({**fields, "type": kind}))


@given(st.text() | st.binary())
def test_no_text_raises(text):
    codec.parse(text)


@given(st.binary(max_size=500))
def test_append_carries_the_sound_untouched(pcm):
    event = json.loads(codec.append(pcm))
    assert event == {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}


def test_totals_without_details_count_as_sound():
    usage = {"input_tokens": 16, "output_tokens": 63}
    done = codec.parse(json.dumps({"type": "response.done", "response": {"id": "r", "usage": usage}}))
    assert done.tokens == wire.Tokens(input_audio=16, output_audio=63)
