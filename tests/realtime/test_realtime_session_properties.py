"""Whatever order the server's events come in, and however often, the kiosk's side of the promise holds."""

import base64
import json
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from openai.types.realtime import RealtimeClientEventParam
from pydantic import TypeAdapter

from kioskd.config.schema import Conversation, Endpoint
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Usage
from kioskd.realtime.session import Session

SETTINGS = Endpoint(name="relay", url="wss://voice.example/v1/realtime", model="gpt-realtime")
CLIENT_EVENT = TypeAdapter(RealtimeClientEventParam)
QUESTION = bytes(4800)


class WildServer(RuleBasedStateMachine):
    """A server that keeps to the events but not to their order; some are lost, some come twice."""

    def __init__(self):
        super().__init__()
        self.session = Session(SETTINGS, Conversation())
        self.session.receive('{"type":"session.created"}')
        self.session.receive('{"type":"session.updated"}')
        self.session.take_outgoing()
        self.turn = 0
        self.done_with = set()  # cancelled, or ended
        self.ended = Counter()
        self.asked = set()
        self.created = 0
        self.ended_responses = 0
        self.past = []  # everything that was said, to be said again
        self.responses = []

    def say(self, event):
        self.past.append(event)
        self.judge(self.session.receive(json.dumps(event)))

    def judge(self, events):
        for event in events:
            if isinstance(event, AnswerAudio):
                assert event.turn in self.asked
                assert event.turn not in self.done_with, "sound after the end or the cancel"
                assert len(event.pcm) % 2 == 0
            elif isinstance(event, AnswerEnded):
                assert event.turn not in self.done_with
                self.ended[event.turn] += 1
                self.done_with.add(event.turn)
            elif isinstance(event, Usage):
                assert event.turn in self.asked

    @rule()
    def ask(self):
        self.turn += 1
        self.asked.add(self.turn)
        self.session.push(self.turn, QUESTION)
        self.judge(self.session.ask(self.turn))

    @precondition(lambda self: self.turn)
    @rule(back=st.integers(0, 2), heard_ms=st.integers(0, 500))
    def interrupt(self, back, heard_ms):
        turn = max(1, self.turn - back)
        self.done_with.add(turn)
        self.session.interrupt(turn, heard_ms)

    @precondition(lambda self: self.turn)
    @rule()
    def cancel(self):
        self.done_with.add(self.turn)
        self.session.cancel(self.turn)

    @rule(echo=st.booleans())
    def create_response(self, echo):
        self.responses.append(f"resp_{len(self.responses)}")
        metadata = {"turn": str(self.turn)} if echo and self.turn else None
        self.say({"type": "response.created", "response": {"id": self.responses[-1], "metadata": metadata}})

    @rule(data=st.data(), size=st.integers(0, 5), name=st.sampled_from(["response.audio", "response.output_audio"]))
    def sound(self, data, size, name):
        response_id = data.draw(st.sampled_from([*self.responses[-3:], "resp_unknown", None]))
        delta = base64.b64encode(bytes(size)).decode()
        item = response_id and f"item_of_{response_id}"
        self.say({"type": f"{name}.delta", "response_id": response_id, "item_id": item, "delta": delta})

    @rule(data=st.data(), status=st.sampled_from(["completed", "cancelled", "failed", "incomplete", None]))
    def end_response(self, data, status):
        response_id = data.draw(st.sampled_from([*self.responses[-3:], "resp_unknown", None]))
        response = {"id": response_id, "status": status, "usage": {"input_tokens": 3}}
        self.say({"type": "response.done", "response": response})

    @rule(item=st.sampled_from(["item_1", "item_2", None]))
    def commit(self, item):
        self.say({"type": "input_audio_buffer.committed", "item_id": item})

    @rule(item=st.sampled_from(["item_1", "item_2", None]))
    def transcribe(self, item):
        kind = "conversation.item.input_audio_transcription.completed"
        self.say({"type": kind, "item_id": item, "transcript": "x"})

    @rule(
        code=st.sampled_from(
            [
                "conversation_already_has_active_response",
                "response_cancel_not_active",
                "input_audio_buffer_commit_empty",
                "rate_limit_exceeded",
                "unheard_of",
            ]
        )
    )
    def complain(self, code):
        self.say({"type": "error", "error": {"code": None, "type": code}})

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def repeat(self, data):
        event = data.draw(st.sampled_from(self.past[-6:]))
        self.judge(self.session.receive(json.dumps(event)))

    @invariant()
    def what_is_sent_is_valid(self):
        for text in self.session.take_outgoing():
            CLIENT_EVENT.validate_python(json.loads(text))

    @invariant()
    def no_answer_ends_twice(self):
        assert all(count == 1 for count in self.ended.values())

    def teardown(self):
        self.judge(self.session.connection_lost("the end"))


TestWildServer = WildServer.TestCase
TestWildServer.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
