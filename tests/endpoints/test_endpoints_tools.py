"""Tools over a Realtime connection: called while it is served, asked again on another, dropped at a barge-in."""

import trio
from fake_peer import CONVERSATION, SETTINGS, FakePeer, Reports, utterance
from test_endpoints_realtime import KEY, sound

from kioskd.dialogue.events import AnswerEnded, Ending
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.toolbox import ToolOffer


class Box:
    """A toolbox that takes its time, and does a thing once."""

    offers = (ToolOffer("open_door", "Opens it.", {"type": "object"}),)

    def __init__(self, takes_s=1.0):
        self.calls = []
        self._takes_s = takes_s

    async def call(self, turn, call):
        self.calls.append((turn, call.name, call.arguments))
        await trio.sleep(self._takes_s)
        return '{"result": "open"}'


def start(nursery, box):
    peer, reports = FakePeer(), Reports()
    endpoint = RealtimeEndpoint(SETTINGS, CONVERSATION, lambda: KEY, dial=peer.dial, jitter=lambda: 1.0, toolbox=box)
    nursery.start_soon(endpoint.run, reports)
    return peer, endpoint, reports


def ask(endpoint, turn):
    endpoint.begin(utterance(turn))
    endpoint.ask(turn)


async def wants_door(connection, response_id="resp_1"):
    await connection.until("response.create")
    item = {
        "id": f"item_{response_id}",
        "type": "function_call",
        "call_id": f"call_{response_id}",
        "status": "completed",
    }
    item |= {"name": "open_door", "arguments": '{"wide": true}'}
    await connection.send("response.created", response={"id": response_id})
    await connection.send("response.done", response={"id": response_id, "status": "completed", "output": [item]})


async def test_a_tool_is_called_and_the_answer_goes_on(autojump_clock, nursery):
    box = Box()
    peer, endpoint, reports = start(nursery, box)
    connection = await peer.connection()
    assert [tool["name"] for tool in (await connection.until("session.update"))["session"]["tools"]] == ["open_door"]
    ask(endpoint, 1)
    await wants_door(connection)
    output = await connection.until("conversation.item.create")
    assert output["item"] == {"type": "function_call_output", "call_id": "call_resp_1", "output": '{"result": "open"}'}
    await connection.until("response.create", 2)
    await sound(connection, "resp_2")
    await connection.send("response.done", response={"id": "resp_2", "status": "completed"})
    assert (await reports.until(AnswerEnded)).ending is Ending.COMPLETE
    assert box.calls == [(1, "open_door", '{"wide": true}')]


async def test_a_connection_lost_meanwhile_is_asked_again_as_the_same_turn(autojump_clock, nursery):
    box = Box(takes_s=5)
    peer, endpoint, reports = start(nursery, box)
    ask(endpoint, 1)
    connection = await peer.connection()
    await wants_door(connection)
    await trio.sleep(0.1)
    await connection.drop()
    await wants_door(await peer.connection(2))
    await (await peer.connection(2)).until("response.create", 2)
    assert [turn for turn, *_ in box.calls] == [1, 1]
    assert reports.of(AnswerEnded) == []


async def test_a_visitor_who_breaks_in_hears_nothing_of_it(autojump_clock, nursery):
    box = Box()
    peer, endpoint, reports = start(nursery, box)
    connection = await peer.connection()
    ask(endpoint, 1)
    await wants_door(connection)
    await trio.sleep(0.1)
    endpoint.cancel(1)
    await connection.until("conversation.item.delete")
    await trio.sleep(5)
    assert "conversation.item.create" not in connection.types
    assert connection.types.count("response.create") == 1
    ask(endpoint, 2)
    await connection.until("response.create", 2)
    await sound(connection, "resp_2")
    await connection.send("response.done", response={"id": "resp_2", "status": "completed"})
    assert (await reports.until(AnswerEnded)).turn == 2
