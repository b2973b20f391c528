"""What was said in this conversation, so that a new session can go on where the last one ended. PURE.

Bounded in turns, characters and sound. The session itself knows better; this is for the next one.
"""

from __future__ import annotations

from attrs import define, field

from kioskd.config.schema import Conversation
from kioskd.dialogue.events import Speaker
from kioskd.endpoints.port import Utterance
from kioskd.realtime.codec import BYTES_PER_MS
from kioskd.realtime.replay import Said

SOUND_BYTES_MAX = 20_000 * BYTES_PER_MS  # of questions that nobody wrote down: 20 s go out again in a second or two
TEXT_MAX = 4000  # characters of one answer: more than anybody listens to
INTERRUPTED = " … [interrupted about here]"  # where, is an estimate from how much of its sound was heard
CUT = " … [cut off]"


@define(eq=False, repr=False)
class Exchange:
    """One question and its answer, as far as it came."""

    turn: int
    question: str = ""
    sound: Utterance | None = None
    answer: str = ""
    whole: bool = False
    sounded_ms: float = 0.0
    heard_ms: int | None = None  # None: all that sounded

    @property
    def heard_text(self) -> str:
        """What the visitor knows of the answer; words are taken to be spread evenly over its sound."""
        if self.heard_ms is None or self.heard_ms >= self.sounded_ms:
            return self.answer if self.whole or not self.answer else self.answer + CUT
        share = max(0.0, self.heard_ms / self.sounded_ms)
        words = self.answer[: round(len(self.answer) * share)]
        whole_words = words.rpartition(" ")[0]
        if not whole_words and not words.isascii():  # a script without blanks
            whole_words = words
        return whole_words + INTERRUPTED if words else ""


@define(eq=False, repr=False)
class History:
    """The turns of the visitor before the kiosk. `revision` changes with every turn that counts."""

    settings: Conversation
    revision: int = field(default=0, init=False)
    lost_questions: int = field(default=0, init=False)  # neither words nor sound of them could be replayed
    _exchanges: list[Exchange] = field(factory=list, init=False)

    def asked(self, turn: int, words: str = "", sound: Utterance | None = None) -> None:
        """A question goes out, in words or as sound."""
        if self._of(turn) is None:
            self._exchanges.append(Exchange(turn, words, sound))
            del self._exchanges[: -(self.settings.history_turns + 1)]  # the one under way doesn't count yet
            self._let_go_of_old_sound()

    def again(self, turn: int) -> None:
        """A question is asked anew: what was written of its answer, and not heard, is written anew."""
        exchange = self._of(turn)
        if exchange is not None and not exchange.sounded_ms:
            exchange.answer = ""

    def said(self, turn: int, speaker: Speaker, text: str) -> None:
        """The whole text of a question or an answer."""
        exchange = self._of(turn)
        if exchange is None:
            return
        if speaker is Speaker.VISITOR:
            exchange.question, exchange.sound = text[:TEXT_MAX], None
        else:
            exchange.answer, exchange.whole = text[:TEXT_MAX], True

    def saying(self, turn: int, text: str) -> None:
        """A piece of an answer's text."""
        exchange = self._of(turn)
        if exchange is not None and not exchange.whole:
            exchange.answer = (exchange.answer + text)[:TEXT_MAX]

    def sounded(self, turn: int, duration_ms: float) -> None:
        """A piece of an answer's sound."""
        exchange = self._of(turn)
        if exchange is not None:
            if not exchange.sounded_ms:
                self.revision += 1
            exchange.sounded_ms += duration_ms

    def interrupted(self, turn: int, heard_ms: int) -> None:
        """No more than this was heard of an answer."""
        exchange = self._of(turn)
        if exchange is not None:
            exchange.heard_ms = heard_ms
            self.revision += 1

    def dropped(self, turn: int) -> None:
        """A question without an answer, or one that nobody heard anything of, was never part of it."""
        exchange = self._of(turn)
        if exchange is not None:
            self._exchanges.remove(exchange)
            self.revision += 1

    def forget(self) -> None:
        """The next visitor's is a conversation of its own."""
        self._exchanges.clear()
        self.revision += 1

    def replay(self) -> list[Said]:
        """What a new session begins with: the latest turns that had an answer, oldest first, within the bounds."""
        said: list[Said] = []
        characters = self.settings.history_characters
        for exchange in reversed(self._answered()):
            words = exchange.heard_text
            if not said:  # of the latest answer at least its end: what goes on is what comes after it
                words = _end_of(words, characters - len(exchange.question))
            characters -= len(exchange.question) + len(words)
            if characters < 0:
                break
            if words:
                said.append(Said(Speaker.KIOSK, words))
            if exchange.question:
                said.append(Said(Speaker.VISITOR, exchange.question))
            elif exchange.sound is not None and exchange.sound.size:  # as much of it as `asked` has kept
                said.append(Said(Speaker.VISITOR, pcm=exchange.sound.since(0)))
            else:
                self.lost_questions += 1
        return said[::-1]

    def _let_go_of_old_sound(self) -> None:
        left = SOUND_BYTES_MAX
        for exchange in reversed(self._exchanges):
            if exchange.sound is not None:
                left -= exchange.sound.size
                exchange.sound = exchange.sound if left >= 0 else None

    def _answered(self) -> list[Exchange]:
        answered = [exchange for exchange in self._exchanges if exchange.sounded_ms and exchange.heard_ms != 0]
        return answered[-self.settings.history_turns :] if self.settings.history_turns else []

    def _of(self, turn: int) -> Exchange | None:
        return next((exchange for exchange in self._exchanges if exchange.turn == turn), None)


def _end_of(text: str, characters: int) -> str:
    """As many whole words of its end as there is room for."""
    if len(text) <= characters:
        return text
    end = text[-characters:] if characters > 0 else ""
    return end.partition(" ")[2] or end
