"""Makes the answers: one at a time for the conversation, and any few beside it."""

from __future__ import annotations

from typing import Any

import trio
from attrs import define, field

from kioskd.simulator import usage
from kioskd.simulator.brain import Brain, BrainError, Call, Reasoner, Understanding
from kioskd.simulator.errors import ClientError, already_responding, not_responding
from kioskd.simulator.events import Outbox, new_id
from kioskd.simulator.items import Content, History, Item, Part
from kioskd.simulator.observer import Observer
from kioskd.simulator.responses import Response, response_from
from kioskd.simulator.session import Session
from kioskd.simulator.settings import Pace
from kioskd.simulator.stream import AnswerStream
from kioskd.simulator.text.prompt import Line, Prompt, Who, think

ARGUMENT_CHARS = 8  # of a tool call come at a time
MAX_OUT_OF_BAND = 8  # responses at a time; kioskd asks for none


@define(eq=False)
class Responder:
    """All responses of a conversation. Its tasks run in `nursery`."""

    session: Session
    history: History
    outbox: Outbox
    brain: Brain
    observer: Observer
    pace: Pace
    nursery: trio.Nursery
    conversation_id: str
    _running: list[Response] = field(factory=list, init=False)
    _streams: dict[str, AnswerStream] = field(factory=dict, init=False)  # by the id of their item
    _read_before: usage.Tokens = field(factory=usage.Tokens, init=False)
    _spent: int = field(default=0, init=False)
    _one_is_due: bool = field(default=False, init=False)  # a voice ended while a response was being given

    def create(self, wanted: Any = None) -> None:
        """Begin a response. Raises `ClientError`: a wrong setting, or one is being given."""
        response = response_from(wanted, self.session, self.history, self.conversation_id, new_id)
        if response.conversation_id is not None:
            if (writing := self._writing) is not None:
                raise already_responding(writing.id)
        elif len(self._running) > MAX_OUT_OF_BAND:
            raise ClientError("Too many responses at a time.", "too_many_responses")
        self._running.append(response)
        self.nursery.start_soon(self._respond, response)

    def create_when_free(self) -> None:
        """Begin a response now, or when the one that is being given has ended: a voice asked for it."""
        if self._writing is None:
            self.create()
        else:
            self._one_is_due = True

    def cancel(self, response_id: str | None) -> None:
        """Stop the response of this id, or the conversation's. Raises `ClientError`: it isn't active."""
        for response in self._running:
            wanted = response.conversation_id is not None if response_id is None else response.id == response_id
            if wanted and response.active:
                response.cancel("client_cancelled")
                return
        raise not_responding()

    def interrupt(self) -> None:
        """Somebody began to speak: stop the conversation's response, if there is one."""
        if (writing := self._writing) is not None:
            writing.cancel("turn_detected")

    def truncated(self, item_id: str) -> None:
        """The client has cut this item: what is still sent of it is not kept."""
        if (stream := self._streams.get(item_id)) is not None:
            stream.truncated = True

    @property
    def _writing(self) -> Response | None:
        return next((response for response in self._running if response.conversation_id is not None), None)

    async def _respond(self, response: Response) -> None:
        await trio.sleep(self.pace.created_after_s)  # not active yet: a cancel is refused, and the response comes
        response.active = True
        self.outbox.put("response.created", response=response.rendered())
        question = next((item for item in reversed(response.context) if item.role == "user" and item.parts), None)
        stream: AnswerStream | None = None
        try:
            with response.scope:
                reply, pcm = await self._think(response, question)
                if isinstance(reply, Call):
                    self._call(response, reply)
                else:
                    item = Item(new_id("item"), role="assistant", status="in_progress")
                    stream = AnswerStream(self.outbox, response, item, reply, pcm, self.pace)
                    self._streams[item.id] = stream
                    self.session.has_spoken = self.session.has_spoken or response.speaks
                    stream.open(self.history)
                    await stream.run()
        except trio.Cancelled:  # the connection has gone
            self._tell(stream, question, "cut")
            raise
        except BrainError as error:
            response.status = "failed"
            reason = {"type": "server_error", "code": "server_error", "message": str(error)}
            response.details = {"type": "failed", "error": reason}
        self._finish(response, stream)
        self._tell(stream, question, response.status)
        if self._one_is_due:
            self._one_is_due = False
            self.create_when_free()

    async def _think(self, response: Response, question: Item | None) -> tuple[str | Call, bytes]:
        said = await self._understand(question)
        if isinstance(self.brain, Reasoner):
            lines = tuple(line_of(item, said if item is question else None) for item in response.context)
            reply = (await think(self.brain, Prompt(response.instructions, lines, response.tools))).reply
        else:
            reply = await self.brain.answer(said)
        if isinstance(reply, Call) or not response.speaks:
            return reply, b""
        return reply, await self.brain.speak(reply)

    def _call(self, response: Response, call: Call) -> None:
        """The item of a function call, all at once: the arguments are short."""
        fields = {"call_id": new_id("call"), "name": call.name, "arguments": ""}
        item = Item(new_id("item"), "function_call", "assistant", "in_progress", fields=fields)
        response.output.append(item)
        where = {"response_id": response.id, "output_index": 0}
        self.outbox.put("response.output_item.added", **where, item=item.rendered(self.outbox.dialect))
        in_conversation = response.conversation_id is not None
        if in_conversation:
            previous = self.history.add(item)
            shown = item.rendered(self.outbox.dialect)
            self.outbox.put("conversation.item.added", previous_item_id=previous, item=shown)
        within = {**where, "item_id": item.id, "call_id": fields["call_id"]}
        for start in range(0, len(call.arguments), ARGUMENT_CHARS):
            piece = call.arguments[start : start + ARGUMENT_CHARS]
            self.outbox.put("response.function_call_arguments.delta", **within, delta=piece)
        fields["arguments"], item.status = call.arguments, "completed"
        named = {"name": call.name} if self.session.is_ga else {}
        self.outbox.put("response.function_call_arguments.done", **within, arguments=call.arguments, **named)
        shown = item.rendered(self.outbox.dialect)
        if in_conversation:
            self.outbox.put("conversation.item.done", previous_item_id=self.history.before(item), item=shown)
        self.outbox.put("response.output_item.done", **where, item=shown)

    async def _understand(self, question: Item | None) -> Understanding:
        part = question.parts[-1] if question is not None else Part(Content.INPUT_TEXT)
        if part.hearing is None:
            return await self.brain.read(part.text or "")
        await part.hearing.done.wait()
        if part.hearing.said is None:
            raise BrainError(part.hearing.failure)
        return part.hearing.said

    def _finish(self, response: Response, stream: AnswerStream | None) -> None:
        if response.scope.cancelled_caught:
            response.status = "cancelled"
            response.details = {"type": "cancelled", "reason": response.cancelled_by}
            if stream is not None and response.cancelled_by == "client_cancelled":
                stream.send_delta()  # what was under way when the cancel came: a client must drop it
        elif stream is not None and stream.limited:
            response.status = "incomplete"
            response.details = {"type": "incomplete", "reason": "max_output_tokens"}
        elif response.status == "in_progress":
            response.status = "completed"
        if stream is not None:
            del self._streams[stream.item.id]
            stream.close(self.history, whole=response.status == "completed")
        self._running.remove(response)
        self._account(response, stream)
        self.outbox.put("response.done", response=response.rendered())
        self.outbox.put("rate_limits.updated", rate_limits=usage.rate_limits(self._spent))

    def _account(self, response: Response, stream: AnswerStream | None) -> None:
        read = usage.of_input(response.instructions, response.context)
        said = usage.Tokens(sum(usage.of_text(item.fields.get("arguments", "")) for item in response.output))
        if stream is not None:
            said = usage.of_output(stream.said, stream.sent_ms)
        response.usage = usage.rendered(response.dialect, read, usage.cached(self._read_before, read), said)
        self._read_before = read
        self._spent += read.total + said.total

    def _tell(self, stream: AnswerStream | None, question: Item | None, status: str) -> None:
        if stream is None:
            return
        question_id = question.id if question is not None else None
        self.observer.on_sent(stream.item.id, question_id, stream.said, stream.sound, status)


def line_of(item: Item, said: Understanding | None) -> Line:
    """An item as a line of the conversation; `said`: what was understood of it, where that is known already."""
    if item.kind == "function_call":
        return Line(Who.CALL, item.fields["arguments"])
    if item.kind == "function_call_output":
        return Line(Who.RESULT, item.fields["output"])
    text = " ".join(part.text or "" for part in item.parts)
    if item.role != "user":
        return Line(Who.KIOSK, text if item.role == "assistant" else "")
    heard = item.parts[-1].hearing if item.parts else None
    said = said or (heard.said if heard is not None else None)
    return Line(Who.USER, said.text if said is not None else text, said=said)
