"""An answer as it is written, cut into pieces that can be spoken one by one, and stripped of what can't. PURE.

The pieces depend on the text alone, never on how it came: a cut is made once the characters that decide it are there.
A missed end of a sentence only makes a longer piece; a wrong one is heard as a stumble. So in doubt it goes on.
"""

# ruff: noqa: RUF001 (other scripts' punctuation is what this is about)

from __future__ import annotations

import re
import unicodedata

from attrs import define, field, frozen

LONGEST_FIRST = 120  # characters of the first piece: the visitor waits for it
LONGEST = 300  # of all others: some 20 s of speech, a tenth of what a speech endpoint takes at once
LEAST = 10  # letters; shorter ones go along with the next: a request each, for half a second of sound, would stumble
_AHEAD = 16  # characters behind a possible end that may be looked at
_DENSE = 3  # a character of Chinese, Japanese or Korean is about as long to say as so many Latin ones

_CLOSING = "\"'”’»›)\\]}*_`」』）》〉】"
_SURE = "。！？｡؟۔।॥։።፧။។"  # ends that mean nothing else, and want no blank behind them
_END = re.compile(rf"(?P<sure>[{_SURE}])[{_SURE}!?…]*[{_CLOSING}]*|(?P<maybe>[.!?…]+)[{_CLOSING}]*")
_CLAUSE = re.compile(r"(?:[,;:،؛]|[ ][–—-])(?=\s)|[，、；：]")  # "،؛": Arabic
_DENSE_LETTER = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_LAST_WORD = re.compile(r"[^\s(\[\"'„“«*_]+\Z")

# A blank and a capital letter behind one of these is no new sentence. Those that often end one ("etc.", "p.m.") are not
# here: a small letter behind them says that they didn't.
_ABBREVIATIONS = """
abs al approx art asst av ave bd bldg blvd bzgl bzw ca capt cf cnr co col corp dept dipl doz dr drs ecc est evtl exc
excl ext fam fig fr frl ft gen ggf gov hr hrs hon inc incl ing inkl insb jr jun lic lt ltd max mdme mag maj mgr min mio
mlle mme mr mrs ms mt mwst no nr num núm op orig pp pl plc prof pt rd rep rev sec sen sep sept sgt sog spec sq sr sra
srta st sta ste str tel tsd univ ust usw vgl vol vs zzgl jan feb mar apr aug oct okt nov dec dez
e.g i.e z.b d.h u.a o.ä s.o s.u v.a i.d.r p.ej ee.uu
"""
_ABBREVIATED = frozenset(_ABBREVIATIONS.split())


@frozen
class Piece:
    """A piece of the answer: as it was written (all of them together are the answer), and what to say of it.

    `spoken` is empty where there is nothing to say.
    """

    text: str
    spoken: str


@define(eq=False)
class Sentences:
    """Takes an answer as it is written."""

    _left: str = field(default="", init=False)
    _first: bool = field(default=True, init=False)
    _line_begins: bool = field(default=True, init=False)

    def add(self, delta: str) -> list[Piece]:
        """The next words; the pieces that are whole by them."""
        self._left += delta
        return self._cut(over=False)

    def end(self) -> list[Piece]:
        """No more will come; the pieces that were left. Another text may begin."""
        pieces = self._cut(over=True)
        self._first = self._line_begins = True
        return pieces

    def _cut(self, over: bool) -> list[Piece]:
        pieces = []
        while (at := _where_to_cut(self._left, LONGEST_FIRST if self._first else LONGEST, over)) is not None:
            text, self._left = self._left[:at], self._left[at:]
            piece = Piece(text, spoken(text, self._line_begins))
            self._line_begins = text.endswith("\n")
            self._first = self._first and not piece.spoken
            pieces.append(piece)
        return pieces


def encodable(text: str) -> str:
    """The text without halves of characters, which JSON can hold and no request can carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _where_to_cut(text: str, longest: int, over: bool) -> int | None:
    """Where the first piece of it ends; None: not known before more is there. `over`: no more will come."""
    view = text[: longest + _AHEAD]
    no_more = over and len(view) == len(text)
    decided = no_more or len(view) == longest + _AHEAD
    if not view:
        return None
    position = 0
    while (end := _next_end(view, position, longest)) is not None:
        at, is_one = end
        if is_one is None and not decided:
            return None  # what comes next decides
        if is_one is not False and _weight(view[:at]) >= LEAST:
            return at
        position = at
    if no_more and len(view) <= longest:
        return len(view)
    return _forced_cut(view, longest) if decided else None


def _next_end(view: str, position: int, longest: int) -> tuple[int, bool | None] | None:
    """The next place, at most `longest` characters in, where a sentence may end, and whether it does (None: open)."""
    mark = _END.search(view, position)
    line = view.find("\n", position)
    if line >= 0 and (mark is None or line < mark.end()):
        return (line + 1, _line_ends(view[line + 1 :])) if line < longest else None
    if mark is None or mark.end() > longest:
        return None
    if mark.end() == len(view):
        return mark.end(), None  # another mark may follow
    if mark["sure"]:
        return mark.end(), True
    return mark.end(), _sentence_ends(view[: mark.start()], mark["maybe"], view[mark.end() :])


def _line_ends(behind: str) -> bool | None:
    """Whether a line's end is the end of what it says, and no mere break of a long line."""
    following = behind.lstrip(" \t")
    return not following[0].islower() if following else None


def _sentence_ends(before: str, mark: str, behind: str) -> bool | None:
    if _DENSE_LETTER.match(behind):
        return mark != "."
    if not behind[0].isspace():
        return False  # a decimal, an address, a file's name
    if mark == "." and _is_abbreviated(before):
        return False
    following = behind.lstrip()
    if "\n" in behind[: len(behind) - len(following)]:
        return True
    return not following.lstrip("\"'“‘«„(*_")[:1].islower() if following else None


def _is_abbreviated(before: str) -> bool:
    """Whether the point behind it belongs to its last word: "Dr", "J", "z. B", the "3" of a date or a list."""
    found = _LAST_WORD.search(before)
    word = found[0] if found else ""
    if len(word) == 1:
        return word.isalnum() and word != "I" and not _DENSE_LETTER.match(word)
    return word.lower() in _ABBREVIATED or (len(word) == 2 and word.isdecimal())


def _forced_cut(view: str, longest: int) -> int:
    """A long run: cut behind its last clause, else behind its last blank, else wherever it must be."""
    clauses = [mark.end() for mark in _CLAUSE.finditer(view, longest // 3, longest)]
    if clauses:
        return clauses[-1]
    blanks = [at for at in range(longest - 1, 0, -1) if view[at].isspace() and view[:at].strip()]
    if blanks:
        return blanks[0] + 1
    at = longest
    while at > 1 and (unicodedata.combining(view[at]) or "\u200d" in view[at - 1 : at + 1]):
        at -= 1  # not between a letter and its accent
    return at if at > 1 else longest


def _weight(text: str) -> int:
    """How much there is to say, in Latin letters. Only what is surely said counts."""
    return sum(_DENSE if _DENSE_LETTER.match(character) else 1 for character in text if _is_letter(character))


def _is_letter(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc")  # vowels are marks in Hindi


_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n`]*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:(?:[-*_=][ \t]*){3,}|\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t:-]*)$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]\[\n]*)\]\([^()\s]*(?:\s+\"[^\"\n]*\")?\)")
_TAG = re.compile(r"</?(?:br|b|i|u|em|strong|p|ul|ol|li|h[1-6]|sub|sup)\s*/?>", re.IGNORECASE)
_LINE_MARK = re.compile(r"[ \t]*(?:(?:#{1,6}|[-*+•‣◦·]|>)[ \t]+)+")
_STARS = re.compile(r"(?<!\S)(?:\*{1,3}|_{1,3}|~~)(?=\S)|(?<=\S)(?:\*{1,3}|_{1,3})(?!\w)|~~|`+")
_EMPHASIS_WITHIN = re.compile(r"(?<![\w*])\*{1,3}(?=\w)|(?<![\w_])_{1,3}(?=\w)|\*{2,3}")
_PICTURE = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u200d\u20e3\U000e0020-\U000e007f]")
_UNSPOKEN = re.compile(r"[\W_]*\Z")


def spoken(text: str, line_begins: bool = True) -> str:
    """What there is to say of a piece of Markdown. `line_begins`: it begins where a line does."""
    text = _LINK.sub(r"\1", _TAG.sub(" ", _PICTURE.sub("", text)))
    first, *more = text.split("\n")
    lines = [_plain(first) if not line_begins else _line(first), *map(_line, more)]
    said, is_new = "", False
    for line, begins in zip(lines, _line_breaks(text), strict=True):
        words = " ".join(line.split())
        is_new = is_new or begins
        if not words or _UNSPOKEN.match(words):
            continue
        joint = "" if not said else ". " if is_new and said[-1].isalnum() else " "
        said, is_new = said + joint + words, False
    return said


def _line_breaks(text: str) -> list[bool]:
    """For each line, whether it begins something new."""
    return [_line_ends(line) is not False for line in text.split("\n")]


def _line(line: str) -> str:
    if _FENCE.match(line) or _RULE.match(line):
        return ""
    mark = _LINE_MARK.match(line)
    line = line[mark.end() :] if mark else line
    if line.lstrip().startswith("|"):
        line = ", ".join(cell.strip() for cell in line.split("|") if cell.strip())
    return _plain(line)


def _plain(line: str) -> str:
    return _EMPHASIS_WITHIN.sub("", _STARS.sub("", line))
