"""The port over whoever answers one question at a time: it keeps the unanswered turn, and finds out how the link is."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable

import trio
from attrs import evolve

from kioskd.config.schema import Conversation, Endpoint
from kioskd.config.secrets import mask_keys
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, Speaker, Transcript
from kioskd.endpoints.alarm import Alarm
from kioskd.endpoints.answering import Answerer, AnswerEvent, Finished, Heard, Question, Sound, Words
from kioskd.endpoints.connection import DEADLINE_GRACE_S
from kioskd.endpoints.history import History
from kioskd.endpoints.loud import LoudOnce
from kioskd.endpoints.pending import PendingTurn, RequestWindow
from kioskd.endpoints.play_out import PlayOut
from kioskd.endpoints.policy import REJECTED_REMEDY, SETTINGS_REMEDY, Failure, Kind, OwnerMustAct, judge
from kioskd.endpoints.port import EndpointEvent, LinkStatus, Report, Utterance
from kioskd.endpoints.recovery import Recovery
from kioskd.endpoints.text.model import ModelError
from kioskd.pulse import Pulse
from kioskd.realtime.codec import BYTES_PER_MS
from kioskd.realtime.replay import CONTINUE

log = logging.getLogger(__name__)

CHECK_EVERY_S = 60.0  # while nobody asks: a lamp that is green for a minute too long is the price of few requests
CHECK_AGAIN_S = 0.5  # after a question that interrupted the check
SETTLED_S = 1.0  # a planned change waits for the visitor, and looks so often whether it is time
_THIS_QUESTION = (SETTINGS_REMEDY, REJECTED_REMEDY)  # where nothing but the request itself was found wrong

Make = Callable[[Endpoint, Conversation], Answerer]


class _Answer:
    """An answer under way."""

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.scope = trio.CancelScope()
        self.text = ""
        self.understood = False  # there were words, the visitor's or its own
        self.sounded = False
        self.stalled = False
        self.dropped = False  # nothing more of it is reported


class TurnwiseEndpoint:
    """The port over an Answerer, which `make` makes anew after each failure and each change of settings.

    `read_key` is called at each attempt and may raise OSError, ValueError; several keys stand one a line. `history` can
    be shared by endpoints that take turns in one conversation.
    """

    def __init__(
        self,
        settings: Endpoint,
        conversation: Conversation,
        make: Make,
        read_key: Callable[[], str],
        *,
        history: History | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._conversation = conversation
        self._make = make
        self._read_key = read_key
        self._history = history or History(conversation)
        self._jitter = jitter
        self._report: Report = _report_to_nobody
        self._pending: PendingTurn | None = None
        self._answer: _Answer | None = None
        self._answerer: Answerer | None = None
        self._life = trio.CancelScope()
        self._failure: Failure | None = None  # that ended the life
        self._known_revision = -1  # of the history, as the answerer's own side knows it
        self._play_out = PlayOut()
        self._requests = RequestWindow(settings.requests_per_minute)
        self._turn_alarm = Alarm(self._give_up_turn)
        self._stall_alarm = Alarm(self._stall)
        self._work = trio.Event()
        self._checking = trio.CancelScope()
        self._check_at = -math.inf
        self._outdated = False
        self._moved_at = -math.inf
        self._key: str | None = None
        self._oddities = LoudOnce(log)
        self._recovery = Recovery(
            settings.name,
            lambda change: self._report(change),
            self._has_new_key,
            lambda: self._pending is not None,
            jitter,
        )

    # The port

    async def run(self, report: Report) -> None:
        """See port."""
        self._report = report
        self._recovery.begin()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._turn_alarm.run)
                nursery.start_soon(self._stall_alarm.run)
                while True:
                    await self._live_and_recover()
        finally:
            self._report, self._answer = _report_to_nobody, None

    def begin(self, utterance: Utterance) -> None:
        """See port."""
        self._drop_whatever_is()
        self._pending = PendingTurn(utterance.turn, utterance)
        if self._answerer is not None:
            self._answerer.prepare(utterance)
        self._recovery.hurry()

    def ask(self, turn: int) -> None:
        """See port. Over `requests_per_minute` the answer fails at once."""
        pending = self._pending
        if pending is None or pending.turn != turn or pending.asked_at is not None:
            return
        self._history.asked(turn, sound=pending.utterance)
        self._ask_within_limits(pending)

    def continue_answer(self, turn: int) -> None:
        """See port."""
        self._drop_whatever_is()
        self._pending = PendingTurn(turn)
        self._history.asked(turn, CONTINUE)
        self._ask_within_limits(self._pending)

    def discard(self, turn: int) -> None:
        """See port."""
        self._drop_turn(turn)

    def cancel(self, turn: int) -> None:
        """See port."""
        self._drop_turn(turn)

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """See port."""
        self._play_out.stopped()
        self._history.interrupted(turn, heard_ms)
        self._stop_answer(turn)
        self._drop_pending(turn)

    def forget(self) -> None:
        """See port."""
        if self._answer is not None:
            self._stop_answer(self._answer.turn)
        self._pending = None
        self._turn_alarm.clear()
        self._history.forget()
        if self._answerer is not None:
            self._answerer.forget()
        self._known_revision = self._history.revision

    def network_changed(self) -> None:
        """See port."""
        self._check_soon()
        if self.status.link is not Link.UP and self._recovery.is_late:
            self._life.cancel()  # it asks in a network that is no more
        self._recovery.network_changed()

    def catch_up(self) -> bool:
        """See port. Each question goes out with all that was said."""
        return True

    @property
    def status(self) -> LinkStatus:
        """See port."""
        return self._recovery.status

    @property
    def pulse(self) -> Pulse:
        """See `kioskd.pulse`. It moves with each event, each look, and while an alarm watches over an answer."""
        waits = self._answer is not None and trio.current_time() < self._answer_by
        return self._recovery.pulse(trio.current_time() if waits else self._moved_at)

    def adjust(self, settings: Endpoint, conversation: Conversation) -> None:
        """Live by these settings from the next question on."""
        self._settings, self._conversation = settings, conversation
        self._requests.resize(settings.requests_per_minute)
        self._replace_soon()

    def renew(self) -> None:
        """Its key was replaced: used as soon as nobody talks, or at once where nothing is connected."""
        self._replace_soon()
        self._recovery.hurry()

    def reopen(self) -> None:
        """Give up whatever is connected or under way, and begin anew; an unanswered question is asked again."""
        self._life.cancel()

    # The turn

    def _ask_within_limits(self, pending: PendingTurn) -> None:
        now = trio.current_time()
        if not self._requests.admit(now):
            limit = self._settings.requests_per_minute
            self._fail_turn(f"more than {limit} questions in a minute (requests_per_minute of {self._settings.name})")
            return
        pending.asked_at = now
        self._turn_alarm.set(self._answer_by)
        self._recovery.hurry()
        self._checking.cancel()
        self._work.set()

    @property
    def _answer_by(self) -> float:
        """When the answer that is waited for is overdue."""
        pending = self._pending
        if pending is not None and pending.asked_at is not None:
            return pending.asked_at + self._conversation.answer_timeout_s + DEADLINE_GRACE_S
        return self._moved_at + self._conversation.answer_stall_s + DEADLINE_GRACE_S

    def _drop_whatever_is(self) -> None:
        if self._answer is not None:
            self._stop_answer(self._answer.turn)
        if self._pending is not None:
            self._drop_turn(self._pending.turn)

    def _drop_turn(self, turn: int) -> None:
        """Nothing more of this turn is asked, kept, or reported."""
        self._stop_answer(turn)
        self._history.dropped(turn)
        self._drop_pending(turn)

    def _drop_pending(self, turn: int) -> None:
        if self._pending is not None and self._pending.turn == turn:
            self._pending = None
            self._turn_alarm.clear()

    def _stop_answer(self, turn: int) -> None:
        if self._answer is not None and self._answer.turn == turn:
            self._answer.dropped = True
            self._answer.scope.cancel()
            self._stall_alarm.clear()

    def _fail_turn(self, reason: str) -> None:
        if self._pending is not None:
            turn = self._pending.turn
            self._drop_turn(turn)
            self._report(AnswerEnded(turn, Ending.FAILED, reason))

    def _fail_asked(self, reason: str) -> None:
        """Nobody is kept waiting for an answer that only the owner can bring about."""
        if self._pending is not None and self._pending.asked_at is not None:
            self._fail_turn(reason)

    def _give_up_turn(self) -> None:
        """No sound came in time: what is connected is not to be trusted."""
        reason = f"no answer within {self._conversation.answer_timeout_s:g} s (answer_timeout_s)"
        self._fail_turn(reason)
        self._end_life(Failure(Kind.SILENCE, reason))

    def _stall(self) -> None:
        if self._answer is not None:
            self._answer.stalled = True
            self._answer.scope.cancel()

    # A life: from the check of an answerer to its failure

    async def _live_and_recover(self) -> None:
        if self.status.link is not Link.UP:  # else it is a planned change, which nobody needs to see
            self._recovery.attempting()
        self._failure, self._outdated, began = None, False, trio.current_time()
        with trio.CancelScope() as self._life:
            await self._live()
        if self._failure is not None:
            failure = evolve(self._failure, message=self._clean(self._failure.message))
            await self._recovery.recover(failure, trio.current_time() - began, self._fail_asked)

    async def _live(self) -> None:
        try:
            self._key = self._read_key()
        except (OSError, ValueError) as error:
            self._end_life(Failure(Kind.KEY, str(error)))
            return
        self._answerer, self._known_revision = self._make(self._settings, self._conversation), -1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep, self._answerer)
                await self._serve(self._answerer)
                nursery.cancel_scope.cancel()
        finally:
            self._answerer = None

    async def _keep(self, answerer: Answerer) -> None:
        try:
            await answerer.run()
        except ModelError as error:
            self._end_life(error.failure)

    def _end_life(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
        self._life.cancel()

    async def _serve(self, answerer: Answerer) -> None:
        """Answer what is asked, and look now and then whether it could."""
        self._check_at = -math.inf
        if self._pending is not None and self._pending.utterance is not None:
            answerer.prepare(self._pending.utterance)
        while not ((self._outdated and self._idle) or self._life.cancel_called):
            self._moved_at = now = trio.current_time()
            if self.status.link is Link.UP and self._pending is not None and self._pending.asked_at is not None:
                await self._answer_turn(answerer, self._pending)
            elif now >= self._check_at:
                await self._check(answerer)
            else:
                self._work = trio.Event()
                tick_s = SETTLED_S if self._outdated else self._settings.ping_interval_s
                with trio.move_on_at(min(self._check_at, now + tick_s)):
                    await self._work.wait()

    async def _check(self, answerer: Answerer) -> None:
        """A question doesn't wait for a check of a link that was up."""
        within_s = self._settings.open_timeout_s + self._settings.setup_timeout_s
        self._check_at = trio.current_time() + CHECK_AGAIN_S
        try:
            with trio.CancelScope() as scope:
                if self.status.link is Link.UP:
                    self._checking = scope
                with trio.fail_after(within_s):
                    await answerer.check()
                self._check_at = trio.current_time() + CHECK_EVERY_S
                self._recovery.connected()
        except trio.TooSlowError:
            self._end_life(Failure(Kind.SILENCE, f"no answer to the check within {within_s:g} s"))
        except ModelError as error:
            self._end_life(error.failure)

    async def _answer_turn(self, answerer: Answerer, pending: PendingTurn) -> None:
        """One question from its asking to the end of its answer, or to the failure that ends this life."""
        answer = self._answer = _Answer(pending.turn)
        if self._history.revision != self._known_revision:
            answerer.forget()  # something was said, or not heard, of which its own side doesn't know
        self._history.again(pending.turn)
        question = Question(pending.turn, pending.utterance, self._history.replay(), pending.heard)
        finished: Finished | None = None
        failure: Failure | None = None
        try:
            with answer.scope:
                finished = await answerer.answer(question, lambda event: self._take(answer, event))
        except ModelError as error:
            failure = error.failure
        finally:
            self._stall_alarm.clear()
            self._answer = None
            if answer.sounded and not answer.dropped and finished is None and failure is None and not answer.stalled:
                self._end_answer(answer, Ending.CUT, "the connection was given up")
        if answer.dropped:
            return
        if answer.stalled:
            failure = Failure(Kind.SILENCE, f"the answer stalled for {self._conversation.answer_stall_s:g} s")
        if failure is not None:
            self._failed(answer, failure)
        elif finished is not None:
            self._finish(answer, finished)

    def _failed(self, answer: _Answer, failure: Failure) -> None:
        verdict = judge(failure, 0, self._jitter(), True)
        reason = self._clean(failure.message)
        if answer.sounded:
            self._end_answer(answer, Ending.FAILED if isinstance(verdict, OwnerMustAct) else Ending.CUT, reason)
        if isinstance(verdict, OwnerMustAct) and verdict.remedy in _THIS_QUESTION:
            told = f"{self._settings.name}: a question was rejected: {reason}; {verdict.remedy}"
            self._oddities.tell("rejected", told)
            self._fail_asked(told)
            self._check_soon()
            return
        self._end_life(failure)

    def _finish(self, answer: _Answer, finished: Finished) -> None:
        if answer.sounded:
            self._oddities.over(f"{self._settings.name}: questions are answered again")
        match finished:
            case Finished.CUT if not answer.sounded:
                self._end_life(Failure(Kind.LOST, "the connection was lost before the answer"))
            case Finished.CUT:
                self._check_soon()
                self._end_answer(answer, Ending.CUT, "the connection was lost in the middle of the answer")
            case Finished.TRUNCATED if not answer.sounded:
                self._fail_asked("the model ended its answer before a word of it (its limit of tokens, or its filter)")
            case _ if not answer.sounded and answer.understood:
                self._fail_asked("answered without sound")
            case _ if not answer.sounded:  # the visitor's doing, which is no failure
                self._drop_turn(answer.turn)
                self._report(AnswerEnded(answer.turn, Ending.COMPLETE, "nothing was understood"))
            case _:
                if answer.text:
                    self._history.said(answer.turn, Speaker.KIOSK, answer.text)
                    self._report(Transcript(answer.turn, Speaker.KIOSK, answer.text))
                self._known_revision = self._history.revision
                ending = Ending.COMPLETE if finished is Finished.COMPLETE else Ending.TRUNCATED
                self._end_answer(answer, ending, "")

    def _end_answer(self, answer: _Answer, ending: Ending, reason: str) -> None:
        answer.dropped = True
        self._report(AnswerEnded(answer.turn, ending, reason))

    def _take(self, answer: _Answer, event: AnswerEvent) -> None:
        if answer.dropped or answer.stalled:
            return
        turn = answer.turn
        answer.understood = answer.understood or isinstance(event, Heard | Words | Sound)
        self._moved_at = trio.current_time()
        if answer.sounded:
            self._stall_alarm.set(self._moved_at + self._conversation.answer_stall_s + DEADLINE_GRACE_S)
        match event:
            case Heard(text):
                if self._pending is not None and self._pending.turn == turn:
                    self._pending.heard = text
                self._history.said(turn, Speaker.VISITOR, text)
                self._report(Transcript(turn, Speaker.VISITOR, text))
            case Words(text):
                answer.text += text
                self._history.saying(turn, text)
            case Sound(pcm):
                if not pcm:
                    return
                duration_ms = len(pcm) / BYTES_PER_MS
                if not answer.sounded:
                    answer.sounded = True
                    self._stall_alarm.set(self._moved_at + self._conversation.answer_stall_s + DEADLINE_GRACE_S)
                self._recovery.proved_useful()
                self._history.sounded(turn, duration_ms)
                self._play_out.sounded(duration_ms, self._moved_at)
                self._drop_pending(turn)
                self._report(AnswerAudio(turn, pcm, duration_ms))
            case _:
                self._report(evolve(event, turn=turn))

    # Bits

    @property
    def _idle(self) -> bool:
        return self._pending is None and self._answer is None and self._play_out.over(trio.current_time())

    def _check_soon(self) -> None:
        self._check_at = -math.inf
        self._work.set()

    def _replace_soon(self) -> None:
        self._outdated = True
        self._work.set()

    def _has_new_key(self) -> bool:
        try:
            return self._read_key() != self._key
        except (OSError, ValueError):
            return False

    def _clean(self, text: str) -> str:
        """One line without the key."""
        clean = "".join(character if character.isprintable() else " " for character in text)
        for key in filter(None, (self._key or "").split("\n")):
            clean = clean.replace(key, "***")
        return mask_keys(clean)


def _report_to_nobody(event: EndpointEvent) -> None:
    log.debug("nobody hears %s", type(event).__name__)
