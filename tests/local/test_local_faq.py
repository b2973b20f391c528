"""The FAQ's file: what is accepted, and what the owner is told of each mistake."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kioskd.local.answer import answer_text
from kioskd.local.faq import MAX_FILE_BYTES, MAX_QUESTIONS, FaqError, jsgf, load_faq, normalise
from kioskd.local.hear import Heard

DEMO = Path(__file__).parents[2] / "config" / "demo-faq.yaml"
GOOD = """\
language: en
not_understood: Pardon?
entries:
  - name: time
    questions:
      - What time is it?
      - what's the time
    answer: It is {time}.
  - name: exit
    questions: [Where is the exit]
    answer: Behind you.
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "faq.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_good_file_gives_its_entries_and_lines(written) -> None:
    faq = load_faq(written(GOOD))
    assert [entry.name for entry in faq.entries] == ["time", "exit"]
    assert [(q.text, q.line) for q in faq.entries[0].questions] == [("what time is it", 6), ("what's the time", 7)]
    assert (faq.language, faq.not_understood) == ("en", "Pardon?")


def test_the_language_may_be_left_out(written) -> None:
    assert load_faq(written(GOOD.removeprefix("language: en\n"))).language == "en"


def test_the_demo_is_good_and_has_a_long_story() -> None:
    faq = load_faq(DEMO)
    assert len(faq.entries) >= 10
    assert all(len(entry.questions) >= 2 for entry in faq.entries)
    assert max(len(entry.answer.split()) for entry in faq.entries) >= 60


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("language: en", "language: de", 1, "`language` must be `en`, `en-gb` or `en-us`"),
        ("language: en", "languages: en", 1, "unknown key `languages`"),
        ("language: en", "not_understood: What?", 2, "`not_understood` stands here a second time"),
        ("not_understood: Pardon?\n", "", 1, "the file lacks `not_understood`"),
        ("Pardon?", "''", 2, "`not_understood` must be a text"),
        ("name: exit", "nmae: exit", 9, "unknown key `nmae`; an entry has `name`, "),
        ("name: exit", "frobnicate: exit", 9, "unknown key in this line; an entry has `name`, "),
        ("  - name: exit\n    q", "  - q", 9, "an entry lacks `name`"),
        ("name: exit", "name: time", 9, "the entry of line 4 is called `time`, too"),
        ("[Where is the exit]", "[]", 10, "`questions` must be a list"),
        ("[Where is the exit]", "where is the exit", 10, "`questions` must be a list"),
        ("[Where is the exit]", "[yes]", 10, "put it in quotes"),
        ("[Where is the exit]", "['?!']", 10, "`?!` has no words"),
        ("[Where is the exit]", "[where is room 5]", 10, "write numbers as words"),
        ("[Where is the exit]", "['где выход']", 10, "other signs than English letters"),
        ("[Where is the exit]", "[what TIME is it!]", 10, "is asked in line 6 already"),
        ("[Where is the exit]", f"[{'so ' * 30}]", 10, "more than 20 words"),
        ("Behind you.", "Behind {you}.", 11, "the unknown placeholder {you}; there are `{time}`"),
        ("Behind you.", "Behind {time!r}.", 11, "the unknown placeholder"),
        ("Behind you.", "Behind {time.year}.", 11, "the unknown placeholder"),
        ("Behind you.", "'Behind } you.'", 11, "a lone brace"),
        ("Behind you.", "on", 11, "must be a text"),
        ("Behind you.", "x" * 3000, 11, "3000 characters; 2000 at most"),
        ("entries:", "entries: [", 4, "not YAML"),
        ("entries:", "entries:\n  - just a text", 4, "an entry must be `key: value` lines"),
        ("entries:", "\tentries:", 3, "not YAML"),
    ],
)
def test_each_mistake_is_told_with_its_line(written, old: str, new: str, line: int, what: str) -> None:
    assert old in GOOD
    path = written(GOOD.replace(old, new, 1))
    with pytest.raises(FaqError) as told:
        load_faq(path)
    assert any(text.startswith(f"{path}:{line}: ") and what in text for text in str(told.value).splitlines()), told


def test_all_mistakes_are_told_at_once(written) -> None:
    with pytest.raises(FaqError) as told:
        load_faq(written(GOOD.replace("language: en", "language: xx").replace("name: exit", "name: time")))
    assert len(str(told.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", ":1: empty"),
        (b"- a list", ":1: the file must be"),
        (b"a: b\nb: \xff", ":2: not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), ":1: longer than 256 KiB"),
        (b"[" * 20_000, ":1: "),
        (b"a\x00b", ":1: not YAML"),
    ],
)
def test_a_file_that_is_no_faq_is_told(written, raw: bytes, what: str) -> None:
    path = written(raw)
    with pytest.raises(FaqError, match=re.escape(f"{path}{what}")):
        load_faq(path)


def test_too_many_questions_are_told(written) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    many = ", ".join(f"{first}{second}" for first in letters for second in letters if first + second not in "no on")
    assert many.count(",") > MAX_QUESTIONS
    with pytest.raises(FaqError, match="500 at most"):
        load_faq(written(GOOD.replace("Where is the exit", many)))


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(FaqError, match="can't be read: No such file"):
        load_faq(tmp_path / "none.yaml")
    with pytest.raises(FaqError, match="can't be read: Is a directory"):
        load_faq(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(cut=st.integers(0, len(GOOD)), junk=st.text(max_size=8))
def test_no_file_raises_anything_else(tmp_path: Path, cut: int, junk: str) -> None:
    path = tmp_path / "faq.yaml"
    path.write_bytes((GOOD[:cut] + junk + GOOD[cut:]).encode("utf-8", "surrogatepass"))
    try:
        load_faq(path)
    except FaqError as error:
        assert str(error).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's the time?", "what's the time"),
        ("What\N{RIGHT SINGLE QUOTATION MARK}s the time", "what's the time"),
        ("  Where is the caf\u00e9 -- the 'big' one?! ", "where is the cafe the big one"),
        ("wi-fi", "wi fi"),
        ("...", ""),
    ],
)
def test_normalise(text: str, words: str) -> None:
    assert normalise(text) == words


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


def test_the_grammar_has_each_question_once(written) -> None:
    grammar = jsgf(load_faq(written(GOOD)))
    body = grammar.split("=", 1)[1].rstrip().removesuffix(";")
    assert [one.strip() for one in body.split("|")] == ["what time is it", "what's the time", "where is the exit"]


@pytest.mark.parametrize(
    ("hour", "minute", "said"),
    [(0, 0, "12 AM"), (0, 5, "12 oh 5 AM"), (12, 0, "12 PM"), (15, 45, "3:45 PM"), (9, 10, "9:10 AM")],
)
def test_the_time_is_said_as_people_say_it(written, hour: int, minute: int, said: str) -> None:
    faq = load_faq(written(GOOD))
    heard = Heard("what time is it", faq.entries[0])
    assert answer_text(faq, heard, datetime(2026, 11, 21, hour, minute)) == f"It is {said}."


def test_date_weekday_and_braces_that_are_meant(written) -> None:
    faq = load_faq(written(GOOD.replace("Behind you.", "'{weekday}, {date} {{sic}}'")))
    heard = Heard("where is the exit", faq.entries[1])
    assert answer_text(faq, heard, datetime(2026, 11, 1)) == "Sunday, November 1, 2026 {sic}"


def test_nothing_understood(written) -> None:
    assert answer_text(load_faq(written(GOOD)), Heard("", None), datetime(2026, 11, 21)) == "Pardon?"


@pytest.mark.parametrize(
    "text",
    [
        "TopSecret: x\n",
        "TopSecret: x\nentries: []\n",
        "entries: *TopSecret\n",
        "a: &TopSecret 1\nb: &TopSecret 2\n",
        "a: !TopSecret!x 1\n",
        "[TopSecret]: x\n",
        "- TopSecret\n",
        "TopSecret\n",
        "not_understood: !!binary TopSecret\n",
    ],
)
def test_a_file_of_another_kind_is_not_repeated(written, text: str) -> None:
    """Root reads it, whoever named it in the settings."""
    with pytest.raises(FaqError) as told:
        load_faq(written(text))
    assert "TopSecret" not in str(told.value) and "faq.yaml:" in str(told.value)
