"""Chat answers in all their shapes: what is taken of them, and how they ended."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.dialogue.events import Usage
from kioskd.endpoints.text.chat_chunks import AnswerError, ChatAnswer
from kioskd.endpoints.text.model import Delta, Finish, TextEvent
from kioskd.endpoints.text.tokens import usage_of
from kioskd.endpoints.toolbox import ToolCall

FIELDS = [
    "choices",
    "delta",
    "content",
    "text",
    "message",
    "finish_reason",
    "tool_calls",
    "function",
    "name",
    "arguments",
]
FIELDS += ["id", "index", "usage", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "code"]
SHAPES = {
    "openai": lambda text: {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
    "relay": lambda text: {"choices": [{"delta": {"text": text}}]},
    "anthropic": lambda text: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}},
    "parts": lambda text: {"choices": [{"delta": {"content": [{"type": "text", "text": text}]}}]},
}


def read(*chunks: object, stale_id: str = "") -> tuple[list[TextEvent], Finish]:
    answer = ChatAnswer(7, stale_id)
    events: list[TextEvent] = []
    for chunk in chunks:
        events += answer.feed(chunk if isinstance(chunk, str) else json.dumps(chunk))
    ends, finish = answer.end()
    return events + ends, finish


def last(reason: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **more}


def said(events: list[TextEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


@pytest.mark.parametrize("shape", SHAPES)
@given(pieces=st.lists(st.text(max_size=20), max_size=10))
def test_the_words_come_whole_and_in_order_whatever_the_shape(shape: str, pieces: list[str]) -> None:
    events, finish = read(*map(SHAPES[shape], pieces), last("stop"), "[DONE]")
    assert said(events) == "".join(pieces)
    assert finish is Finish.WHOLE


@pytest.mark.parametrize(
    ("ends", "finish"),
    [
        ([last("stop"), "[DONE]"], Finish.WHOLE),
        ([last("stop")], Finish.WHOLE),
        ([{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}], Finish.WHOLE),
        ([], Finish.CUT),
        (["[DONE]"], Finish.CUT),
        ([last("length"), "[DONE]"], Finish.CUT),
        ([last("content_filter"), "[DONE]"], Finish.CUT),
        ([{"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}], Finish.CUT),
        (["{not json", last("stop"), "[DONE]"], Finish.WHOLE),
        ([": a comment", "null", "[]", "{}", "7", last("stop")], Finish.WHOLE),
    ],
)
def test_whole_and_cut_are_told_apart(ends: list[object], finish: Finish) -> None:
    events, found = read(SHAPES["openai"]("hi"), *ends)
    assert (said(events), found) == ("hi", finish)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "overloaded", "type": "server_error"}},
        {"error": "a mere text"},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow"},
        {"code": 429, "message": "Rate limit exceeded. Retry after 60 seconds"},
    ],
)
def test_an_error_in_the_middle_is_one(error: dict[str, Any]) -> None:
    answer = ChatAnswer(7)
    answer.feed(json.dumps(SHAPES["openai"]("hi")))
    with pytest.raises(AnswerError) as caught:
        answer.feed(json.dumps(error))
    assert caught.value.told == error


def test_what_only_looks_like_an_error_is_none() -> None:
    events, finish = read({"error": None, **SHAPES["openai"]("hi")}, last("stop"))
    assert (said(events), finish) == ("hi", Finish.WHOLE)


def test_reasoning_is_not_spoken() -> None:
    thought = {"choices": [{"delta": {"role": "assistant", "content": None, "reasoning_content": "hmm"}}]}
    thinking = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hmm"}}
    events, _ = read(thought, thinking, SHAPES["openai"]("hi"), last("stop"))
    assert said(events) == "hi"


def test_only_the_first_choice_is_spoken() -> None:
    two = {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}
    assert said(read(two, last("stop"))[0]) == "a"


@given(arguments=st.text(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6), indexed=st.booleans())
def test_tool_calls_are_put_together_from_their_pieces(arguments: str, cuts: list[int], indexed: bool) -> None:
    places = sorted({0, len(arguments), *(cut for cut in cuts if cut < len(arguments))})
    pieces = [arguments[a:b] for a, b in pairwise(places)]

    def part(number: int, **fields: Any) -> dict[str, Any]:
        found = {"index": number, **fields} if indexed else fields
        return {"choices": [{"delta": {"tool_calls": [found]}}]}

    chunks: list[object] = []
    for number, name in enumerate(("weather", "door")):
        chunks.append(part(number, id=f"call_{name}", type="function", function={"name": name, "arguments": ""}))
        chunks += [part(number, function={"arguments": piece}) for piece in pieces]
    events, finish = read(*chunks, last("tool_calls"), "[DONE]")
    assert events == [ToolCall("call_weather", "weather", arguments), ToolCall("call_door", "door", arguments)]
    assert finish is Finish.TOOL_CALLS


@pytest.mark.parametrize("reason", ["length", "content_filter", "max_tokens"])
def test_a_model_that_ends_before_its_first_word_means_it(reason: str) -> None:
    assert read(last(reason), "[DONE]") == ([], Finish.STOPPED)
    assert read(SHAPES["openai"]("Well"), last(reason))[1] is Finish.CUT


def test_a_tool_call_that_was_cut_is_not_made() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "door", "arguments": '{"open": tr'}}
    for end, finish in (([], Finish.CUT), ([last("length")], Finish.STOPPED), (["[DONE]"], Finish.CUT)):
        assert read({"choices": [{"delta": {"tool_calls": [call]}}]}, *end) == ([], finish)


def test_calls_behind_a_stop_are_calls() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "door", "arguments": "{}"}}
    events, finish = read({"choices": [{"delta": {"tool_calls": [call]}}]}, last("stop"))
    assert (events, finish) == ([ToolCall("c", "door", "{}")], Finish.TOOL_CALLS)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (
            {"prompt_tokens": 50, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 32}},
            Usage(7, input_text=50, cached_text=32, output_text=9),
        ),
        (
            {
                "prompt_tokens": 50,
                "completion_tokens": 9,
                "prompt_cache_hit_tokens": 20,
                "prompt_cache_miss_tokens": 30,
            },
            Usage(7, input_text=50, cached_text=20, output_text=9),
        ),
        (
            {"input_tokens": 10, "cache_read_input_tokens": 40, "output_tokens": 9},
            Usage(7, input_text=50, cached_text=40, output_text=9),
        ),
        (
            {"input_tokens": 50, "input_tokens_details": {"cached_tokens": 8}, "output_tokens": 9},
            Usage(7, input_text=50, cached_text=8, output_text=9),
        ),
        (
            {
                "prompt_tokens": 60,
                "prompt_tokens_details": {"audio_tokens": 40, "cached_tokens": 30},
                "completion_tokens": 30,
                "completion_tokens_details": {"audio_tokens": 25},
            },
            Usage(7, 20, 40, 20, 10, 5, 25),
        ),
    ],
)
def test_tokens_are_counted_in_everybodys_words(told: dict[str, Any], usage: Usage) -> None:
    assert usage_of(7, told) == usage
    events, _ = read(SHAPES["openai"]("hi"), last("stop"), {"choices": [], "usage": told}, "[DONE]")
    assert events == [Delta("hi"), usage]


@pytest.mark.parametrize(
    "told", [None, {}, [], "x", {"prompt_tokens": "7"}, {"prompt_tokens": True}, {"prompt_tokens": -1}]
)
def test_what_counts_nothing_is_no_usage(told: object) -> None:
    assert usage_of(7, told) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2000) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(FIELDS),
                inner,
                max_size=5,
            )
        ),
        max_leaves=25,
    )
)
def test_nothing_that_is_json_breaks_it(told: object) -> None:
    for way in (ChatAnswer(7).feed, ChatAnswer(7).whole):
        with suppress(AnswerError):
            way(json.dumps(told))


def test_what_belongs_to_the_answer_before_is_dropped() -> None:
    old = {"id": "old", **SHAPES["openai"]("late")}
    events, finish = read("[DONE]", old, {"id": "new", **SHAPES["openai"]("hi")}, last("stop"), stale_id="old")
    assert (said(events), finish) == ("hi", Finish.WHOLE)


def test_an_answer_in_one_piece() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "door", "arguments": {"open": True}}}
    told = {"choices": [{"message": {"content": "Wait.", "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    answer = ChatAnswer(7)
    assert answer.whole(json.dumps(told)) == [Delta("Wait.")]
    assert answer.end() == ([ToolCall("c", "door", '{"open": true}')], Finish.TOOL_CALLS)
    native = ChatAnswer(7)
    told = {"content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn"}
    assert native.whole(json.dumps(told)) == [Delta("Hi.")]
    assert native.end() == ([], Finish.WHOLE)


@pytest.mark.parametrize("body", ["", "<html>", "[]", "{}", '{"choices": []}', "[" * 100_000])
def test_no_answer_in_one_piece_is_an_error(body: str) -> None:
    with pytest.raises(AnswerError):
        ChatAnswer(7).whole(body)
