"""The FAQ's file: every mistake with its line, and the grammar that is made of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from kioskd.config.places import shipped
from kioskd.local.answer import answer_text
from kioskd.local.faq import FaqError, jsgf, load_faq, normalise, questions_of
from kioskd.local.hear import Heard

NOW = datetime(2026, 11, 21, 15, 7)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "faq.yaml"
    path.write_text(text)
    return path


def test_what_we_ship_is_whole() -> None:
    faq = load_faq(shipped("demo-faq.yaml"))
    questions = [question.text for question in questions_of(faq)]
    assert len(questions) == len(set(questions)) >= 30
    assert {"what time is it", "where is the exit", "when do you open", "tell me a story"} <= set(questions)
    for entry in faq.entries:
        assert "{" not in answer_text(faq, Heard(entry.questions[0].text, entry), NOW)
    assert answer_text(faq, Heard("", None), NOW) == faq.not_understood


def test_the_time_is_the_time() -> None:
    faq = load_faq(shipped("demo-faq.yaml"))
    entry = next(entry for entry in faq.entries if entry.questions[0].text == "what time is it")
    assert "3 oh 7 PM" in answer_text(faq, Heard("what time is it", entry), NOW)


def test_the_grammar_holds_each_question_word_for_word() -> None:
    grammar = jsgf(load_faq(shipped("demo-faq.yaml")))
    assert grammar.startswith("#JSGF V1.0;")
    assert "where is the exit" in grammar and "?" not in grammar


@pytest.mark.parametrize(("said", "text"), [("What time IS it?", "what time is it"), ("today's date", "today's date")])
def test_normalise(said: str, text: str) -> None:
    assert normalise(said) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- just a list",
        "entries: []",
        "not_understood: I did not understand.\nentries:\n  - name: a\n    questions: [what]\n    anser: no",
        "not_understood: x\nnot_understood: y\nentries: []",
        "not_understood: x\nentries:\n\t- broken",
        "\0",
    ],
)
def test_every_mistake_names_the_file(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(FaqError) as caught:
        load_faq(path)
    for line in str(caught.value).splitlines():
        assert line.startswith(f"{path}:")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FaqError, match=r"none\.yaml"):
        load_faq(tmp_path / "none.yaml")
