"""The conversation's items: made, cut, deleted, looked at."""

from __future__ import annotations

from typing import Any

import pytest
from simulator_client import connected, tone
from trio.testing import MockClock

from kioskd.config.schema import Dialect
from kioskd.simulator.settings import Pace


async def test_truncate_wipes_the_transcript_and_the_sound(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        item_id = (await client.ask())["output"][0]["id"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=1500)
        truncated = await client.until("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (item_id, 1500)
        await client.send("conversation.item.retrieve", item_id=item_id)
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert item["content"][0]["transcript"] is None
        assert len(item["content"][0]["audio"]) == 1500 * 48 * 4 // 3


async def test_truncate_beyond_what_was_sent_is_refused(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        item_id = (await client.ask())["output"][0]["id"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2001)
        assert (await client.error())["message"] == "Audio content of 2000ms is already shorter than 2001ms"
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2000)
        await client.until("conversation.item.truncated")


async def test_an_answer_truncated_in_the_middle_stays_truncated(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, pace=Pace(speed=1.0)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        delta = await client.until("response.output_audio.delta")
        item_id = delta["item_id"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2001)
        assert "already shorter" in (await client.error())["message"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=40)
        await client.until("conversation.item.truncated")
        done = (await client.until("response.done"))["response"]
        assert done["output"][0]["content"][0]["transcript"] is None
        await client.send("conversation.item.retrieve", item_id=item_id)
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert len(item["content"][0]["audio"]) == 40 * 48 * 4 // 3


@pytest.mark.parametrize("end_ms", [0, 100])
async def test_only_the_servers_speech_can_be_truncated_and_not_to_nothing(
    autojump_clock: MockClock, end_ms: int
) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        asked = await client.say(tone(300))
        await client.send("response.create")
        answered = (await client.until("response.done"))["response"]["output"][0]["id"]
        item_id = asked if end_ms else answered
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)
        error = await client.error()
        assert error["message"] == "Only model output audio messages can be truncated"
        assert (error["code"], error["param"]) == (None, None)


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("truncate", {"content_index": 0, "audio_end_ms": 10}, "item_truncate_invalid_item_id"),
        ("delete", {}, "item_delete_invalid_item_id"),
        ("retrieve", {}, "item_retrieve_invalid_item_id"),
    ],
)
async def test_an_item_must_exist(autojump_clock: MockClock, kind: str, fields: dict[str, int], code: str) -> None:
    async with connected(autojump_clock) as client:
        await client.send(f"conversation.item.{kind}", item_id="item_x", **fields)
        assert (await client.error())["code"] == code


async def test_a_deleted_item_is_gone_and_its_answer_goes_on(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, pace=Pace(speed=1.0)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        item_id = (await client.until("response.output_audio.delta"))["item_id"]
        await client.send("conversation.item.delete", item_id=item_id)
        assert (await client.until("conversation.item.deleted"))["item_id"] == item_id
        client.events.clear()
        await client.until("response.done")
        assert "conversation.item.done" not in client.kinds()
        await client.send("conversation.item.delete", item_id=item_id)
        assert (await client.error())["code"] == "item_delete_invalid_item_id"


def message(role: str, kind: str, text: str = "hi", **more: object) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


@pytest.mark.parametrize("dialect", Dialect)
async def test_history_goes_in_where_it_is_wanted(autojump_clock: MockClock, dialect: Dialect) -> None:
    async with connected(autojump_clock, dialect) as client:
        reply = "output_text" if dialect is Dialect.GA else "text"
        created = "conversation.item.added" if dialect is Dialect.GA else "conversation.item.created"
        await client.send("conversation.item.create", item=message("user", "input_text", id="one"))
        assert (await client.until(created))["previous_item_id"] is None
        await client.send("conversation.item.create", item=message("assistant", reply, id="three"))
        assert (await client.until(created))["previous_item_id"] == "one"
        item = message("system", "input_text", id="two")
        await client.send("conversation.item.create", previous_item_id="one", item=item)
        assert (await client.until(created))["previous_item_id"] == "one"
        item = message("user", "input_text", id="none")
        await client.send("conversation.item.create", previous_item_id="root", item=item)
        event = await client.until(created)
        assert event["previous_item_id"] is None
        assert event["item"]["content"] == [{"type": "input_text", "text": "hi"}]
        assert [item.id for item in client.conversation.history] == ["none", "one", "two", "three"]


@pytest.mark.parametrize(
    ("dialect", "item", "param"),
    [
        (Dialect.GA, message("assistant", "text"), "item.content[0].type"),
        (Dialect.BETA, message("assistant", "output_text"), "item.content[0].type"),
        (Dialect.GA, message("user", "text"), "item.content[0].type"),
        (
            Dialect.GA,
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": "AAAA"}]},
            "item.content[0].type",
        ),
        (Dialect.GA, message("user", "input_text", id="x" * 33), "item.id"),
        (Dialect.GA, message("robot", "input_text"), "item.role"),
        (Dialect.GA, {"type": "message", "role": "user"}, "item.content"),
        (Dialect.GA, {"type": "poem"}, "item.type"),
        (Dialect.GA, message("user", "input_text", made_up=1), "item.made_up"),
    ],
)
async def test_a_wrong_item_is_refused(
    autojump_clock: MockClock, dialect: Dialect, item: dict[str, Any], param: str
) -> None:
    async with connected(autojump_clock, dialect) as client:
        await client.send("conversation.item.create", item=item)
        assert (await client.error())["param"] == param
        assert list(client.conversation.history) == []


async def test_ids_are_unique_and_the_previous_item_must_exist(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.send("conversation.item.create", item=message("user", "input_text", id="one"))
        await client.send("conversation.item.create", item=message("user", "input_text", id="one"))
        assert (await client.error())["param"] == "item.id"
        late = message("user", "input_text")
        await client.send("conversation.item.create", previous_item_id="nobody", item=late)
        assert (await client.error())["param"] == "previous_item_id"
