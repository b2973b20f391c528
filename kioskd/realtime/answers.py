"""The answers of one session, and the races about them: cancel, create, truncate, and what nobody asked for."""

from __future__ import annotations

from collections import deque

from attrs import astuple

from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Speaker, Transcript, Usage
from kioskd.realtime import codec, wire
from kioskd.realtime.answer import Answer
from kioskd.realtime.errors import ending_of
from kioskd.realtime.events import Awaiting, Oddity, Saying, SessionEvent, ToolWanted

ENDED_IDS_KEPT = 32  # late events follow within a few responses
ROUNDS_MAX = 5  # responses in one turn: tools that bring about nothing but more calls


class Answers:
    """At most one is active, and one waits for its end. Queues texts on `outgoing` and tells `events`."""

    def __init__(self, outgoing: deque[str], events: list[SessionEvent]) -> None:
        self._outgoing = outgoing
        self._events = events
        self._active: Answer | None = None
        self._queued: Answer | None = None  # waits for the active one's end
        self._finished: Answer | None = None  # whole on the wire, perhaps still playing
        self._calling: Answer | None = None  # goes on when its tools have been called
        self._ended_ids: deque[str] = deque(maxlen=ENDED_IDS_KEPT)
        self._foreign_ids: deque[str] = deque(maxlen=ENDED_IDS_KEPT)
        self._progress = 0
        self._echoes = False  # our metadata comes back with a response

    @property
    def awaiting(self) -> tuple[Awaiting, int]:
        """What the server owes, and a number that changes with each step towards it."""
        answer = self._active
        if answer is None:
            return Awaiting.NOTHING if self._calling is None else Awaiting.TOOLS, self._progress
        if not answer.wanted:
            return Awaiting.END, 0  # what still comes of it is no progress
        return (Awaiting.MORE_SOUND if answer.received else Awaiting.FIRST_SOUND), self._progress

    def awaits(self, turn: int) -> bool:
        """Whether this turn's answer has been asked for and isn't over."""
        return any(answer is not None and answer.turn == turn for answer in (self._active, self._queued, self._calling))

    def request(self, turn: int) -> None:
        """Ask for a turn's answer, at once or after the active one's end."""
        if self._calling is not None:
            self._end(self._calling, Ending.FAILED, "another question took its place")
            self._calling = None
        if self._queued is not None:
            self._end(self._queued, Ending.FAILED, "another question took its place")
        self._queued = Answer(turn)
        self._start_queued()

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """Stop this turn's answer and leave the server with the `heard_ms` of it that were heard."""
        if self._queued is not None and self._queued.turn == turn:
            self._outgoing.extend(self._queued.settle(heard_ms))
            self._queued = None
        if self._calling is not None and self._calling.turn == turn:
            self._outgoing.extend(self._calling.settle(heard_ms))
            self._calling = None
        if self._active is not None and self._active.turn == turn and self._active.wanted:
            self._drop(self._active)
            self._outgoing.extend(self._active.settle(heard_ms))
        elif self._finished is not None and self._finished.turn == turn:
            self._outgoing.extend(self._finished.settle(heard_ms))
            self._finished = None

    def connection_lost(self, reason: str) -> None:
        """An answer that had begun to sound is cut."""
        for answer in (self._active, self._queued, self._calling):
            if answer is not None and answer.received:
                self._end(answer, Ending.CUT, reason)
        self._active = self._queued = self._finished = self._calling = None

    def take_result(self, turn: int, call_id: str, output: str) -> None:
        """What a tool returned. After the last one of them the answer goes on; nobody wants a late one."""
        answer = self._calling
        if answer is None or answer.turn != turn or call_id not in answer.calls or call_id in answer.results:
            return
        answer.results[call_id] = output
        if answer.calls.keys() == answer.results.keys():
            self._calling = None
            self._outgoing.extend(answer.go_on())
            self._queued = answer
            self._start_queued()

    # What the server says

    def on_created(self, event: wire.ResponseCreated) -> None:
        """A response has been named. A server that has echoed a turn once echoes each: without one it is not ours."""
        if event.turn is not None:
            self._echoes = True
        elif self._echoes and event.response_id is not None and not self._is_known(event.response_id):
            self._reject(event.response_id)
            return
        self._answer_of(event.response_id, event.turn)

    def on_progress(self, event: wire.ResponseProgress) -> None:
        """Something of a response that brings no sound."""
        answer = self._answer_of(event.response_id)
        if answer is not None:
            answer.add_item(event.item_id)

    def on_audio(self, event: wire.AudioDelta) -> None:
        """A piece of sound."""
        answer = self._answer_of(event.response_id)
        if answer is None:
            return
        if not answer.wanted or answer.turn is None:
            answer.add_item(event.item_id)
            return
        pcm = answer.take(event)
        if pcm:
            self._events.append(AnswerAudio(answer.turn, pcm, len(pcm) / codec.BYTES_PER_MS))

    def on_call(self, event: wire.FunctionCall) -> None:
        """A tool is wanted. It is called when the response is over: until then it may turn out to have failed."""
        answer = self._answer_of(event.response_id)
        if answer is not None:
            answer.add_call(event)

    def on_text(self, event: wire.AnswerText) -> None:
        """A piece of the text of what is being spoken."""
        answer = self._answer_of(event.response_id)
        if answer is not None:
            answer.add_item(event.item_id)
            if answer.wanted and answer.turn is not None and event.text:
                self._events.append(Saying(answer.turn, event.text))

    def on_transcript(self, event: wire.AnswerTranscript) -> None:
        """The whole text of a spoken item; it can come after its response's end."""
        answer = self._finished
        if answer is None or event.response_id is None or answer.response_id != event.response_id:
            answer = self._answer_of(event.response_id)
        if answer is None or answer.turn is None or not answer.wanted or event.item_id in answer.transcribed:
            return
        answer.transcribed.add(event.item_id)
        if event.text:
            self._events.append(Transcript(answer.turn, Speaker.KIOSK, event.text))

    def on_done(self, event: wire.ResponseDone) -> bool:
        """A response is over. False if it was none of ours."""
        if event.response_id is not None and event.response_id in self._foreign_ids:
            self._foreign_ids.remove(event.response_id)
            self._ended_ids.append(event.response_id)
            self.unblock()  # it was the one in our way
            return False
        if event.response_id is not None and self._active is None:
            self._ended_ids.append(event.response_id)
        answer = self._answer_of(event.response_id, event.turn) if self._active is not None else None
        if answer is None:
            return False
        if answer.turn is not None and event.tokens is not None:
            self._events.append(Usage(answer.turn, *astuple(event.tokens)))
        for call in event.calls:
            answer.add_call(call)
        if answer.calls and answer.wanted and event.status in (None, "completed") and event.error is None:
            self._call_tools(answer)
            return True
        self._end(answer, *ending_of(event, sounded=answer.received > 0))
        self._finish_active()
        return True

    def _call_tools(self, answer: Answer) -> None:
        if answer.turn is None or answer.rounds >= ROUNDS_MAX:
            self._end(answer, Ending.FAILED, f"tools were called in each of {ROUNDS_MAX} responses on end")
            self._finish_active()
            return
        if answer.response_id is not None:
            self._ended_ids.append(answer.response_id)
        self._active, self._calling, answer.complete = None, answer, True
        for call in answer.calls.values():
            self._events.append(ToolWanted(answer.turn, call.call_id, call.name, call.arguments))
        self._start_queued()

    # What an error means to them

    def unblock(self) -> None:
        """What was in our way has ended meanwhile."""
        if self._active is not None and self._active.turn is None and self._active.response_id is None:
            self._finish_active()

    @property
    def unbegun(self) -> int | None:
        """The turn whose answer was asked for, and of which the server has said nothing yet."""
        answer = self._active
        return answer.turn if answer is not None and not answer.begun else None

    def fail_unbegun(self, reason: str) -> None:
        """An error came in place of its response."""
        if self._active is not None and not self._active.begun:
            self._end(self._active, Ending.FAILED, reason)
            self._finish_active()

    def fail(self, turn: int, reason: str) -> None:
        """The question was refused, but the create that followed it wasn't: its answer is to nothing."""
        for answer in (self._active, self._queued):
            if answer is not None and answer.turn == turn:
                self._end(answer, Ending.FAILED, reason)
                self.interrupt(turn, 0)

    def create_refused(self, turn: int | None, reason: str) -> None:
        """A response that isn't ours is active: stop it, and ask once more when it has ended.

        `turn`: whose create it was, where the server tells. What has begun meanwhile was taken for ours wrongly.
        """
        refused = self._active
        if refused is None or refused.turn is None or (refused.begun and turn != refused.turn):
            return
        in_our_way = Answer(None, refused.response_id, begun=True)
        self._active = None
        if refused.retried or refused.received:
            self._end(refused, Ending.FAILED, reason)
        elif self._queued is not None:
            self._end(refused, Ending.FAILED, "another question took its place")
        elif refused.wanted:
            self._queued = Answer(refused.turn, retried=True, rounds=refused.rounds)
        if refused.retried and refused.response_id is None:
            self._start_queued()  # nothing that could be waited for
            return
        self._active = in_our_way
        self._drop(in_our_way)

    # The races

    def _answer_of(self, response_id: str | None, turn: str | None = None) -> Answer | None:
        """The answer that an event belongs to; the first event of a response opens it, `response.created` or not."""
        answer = self._active
        if response_id is not None and (response_id in self._ended_ids or response_id in self._foreign_ids):
            return None
        ours = answer is not None and (turn is None or answer.turn is None or turn == str(answer.turn))
        if answer is not None and ours and (response_id is None or answer.response_id in (None, response_id)):
            answer.response_id = answer.response_id or response_id
            answer.begun = True
            self._progress += 1
            if not answer.wanted:
                self._drop(answer)
            return answer
        if response_id is not None:
            self._reject(response_id)
        return None

    def _is_known(self, response_id: str) -> bool:
        active = self._active is not None and self._active.response_id == response_id
        return active or response_id in self._ended_ids or response_id in self._foreign_ids

    def _reject(self, response_id: str) -> None:
        """A response that nobody asked for: the server takes turns by itself."""
        if self._active is None:
            self._active = Answer(turn=None, response_id=response_id, begun=True)
            self._drop(self._active)
        else:
            self._foreign_ids.append(response_id)
            self._outgoing.append(codec.cancel_response(response_id))
        self._events.append(Oddity("the server answered without being asked; does it ignore turn_detection: null?"))

    def _drop(self, answer: Answer) -> None:
        """Nobody wants it. A cancel before its begin would do nothing: then it is sent at the begin."""
        answer.wanted = False
        if answer.begun and not answer.cancel_sent:
            answer.cancel_sent = True
            self._outgoing.append(codec.cancel_response(answer.response_id))

    def _end(self, answer: Answer, ending: Ending, reason: str) -> None:
        if answer.wanted and answer.turn is not None:
            self._events.append(AnswerEnded(answer.turn, ending, reason))

    def _finish_active(self) -> None:
        answer, self._active = self._active, None
        if answer is not None:
            if answer.response_id is not None:
                self._ended_ids.append(answer.response_id)
            answer.complete = True
            if answer.wanted:
                self._finished = answer
            else:  # items that came after the cancel: nobody heard them
                self._outgoing.extend(answer.settle(0))
        self._start_queued()

    def _start_queued(self) -> None:
        if self._active is None and self._queued is not None:
            answer, self._queued = self._queued, None
            self._active = answer
            if answer.turn is not None:
                self._outgoing.append(codec.create_response(answer.turn, f"create-{answer.turn}"))
