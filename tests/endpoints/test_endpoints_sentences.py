# ruff: noqa: RUF001
"""An answer cut into pieces that can be spoken: whole, in order, the same however it came, and fit to be said."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.endpoints.voice.sentences import LEAST, LONGEST, LONGEST_FIRST, Sentences, spoken


def pieces_of(text, cuts=()):
    sentences, pieces, at = Sentences(), [], 0
    for cut in (*sorted(cuts), len(text)):
        pieces += sentences.add(text[at:cut])
        at = cut
    return pieces + sentences.end()


def said_of(text):
    return [piece.spoken for piece in pieces_of(text) if piece.spoken]


VOCABULARY = """
the Dr. e.g. 3.5 12. 1889. J. U.S. z.B. Nr. p.m. etc. ... … ! ? !? . , ; : – - * ** _ __ ` ``` # ## > | |---| 1. 2)
( ) [ ] [a](b) " ' ” « » „ 你好。 好!你 「はい。」 ありがとう！ مرحبا؟ ۔ नमस्ते। é e\u0301 👩\u200d🚀
°C <br> Tickets open at noon wanderlust
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "", "\n", "\n\n"])
MADE_UP = st.lists(st.tuples(WORDS, st.sampled_from(["", " ", " ", " ", "  ", "\n"])), max_size=120).map(
    lambda parts: "".join(word + blank for word, blank in parts)
)
TEXTS = MADE_UP | st.text(max_size=800) | st.text(alphabet="aB .!?,\n*。一", max_size=900)


@given(TEXTS, st.randoms(use_true_random=False))
def test_nothing_is_lost_or_doubled_however_it_is_chopped(text, random_: random.Random):
    cuts = [random_.randint(0, len(text)) for _ in range(random_.randint(0, 60))]
    whole = pieces_of(text)
    assert "".join(piece.text for piece in whole) == text
    assert pieces_of(text, cuts) == whole
    assert pieces_of(text, range(len(text))) == whole


@given(TEXTS)
def test_every_piece_is_bounded(text):
    first = True
    for piece in pieces_of(text):
        assert 0 < len(piece.text) <= (LONGEST_FIRST if first else LONGEST)
        assert len(piece.spoken) <= 2 * LONGEST
        first = first and not piece.spoken


LETTERS = st.text(alphabet="abcdefghijklmnopqrstuvwxyzäöüßéABC0123456789 ,.!?;:'\n一二三。中", max_size=700)


@given(LETTERS)
def test_every_letter_is_spoken_once_and_in_order(text):
    def letters(of):
        return [character for character in of if character.isalnum()]

    assert letters("".join(piece.spoken for piece in pieces_of(text))) == letters(text)


@given(TEXTS)
def test_a_piece_without_an_end_is_given_once_and_then_all_is_over(text):
    sentences = Sentences()
    sentences.add(text)
    sentences.end()
    assert sentences.end() == []


def test_a_text_after_another_is_cut_as_if_it_were_the_first():
    sentences = Sentences()
    sentences.add("Something before. And more")
    sentences.end()
    text = "- First of all, this is so.\n- Then that."
    assert sentences.add(text) + sentences.end() == pieces_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith works here with Mrs. Brown and Prof. Green today.",
        "It costs 3.50 euros, or 1,234.56 in all, see www.example.org/a.b for more.",
        "We meet on the 3. Oktober at the latest, as agreed before.",
        "You can bring e.g. Apples, i.e. Fruit, or z. B. Birnen along.",
        "In the U.S. Army museum there is J. Smith's old uniform.",
        'She said "Really?" and then went on to the next room.',
        "Well... maybe you should ask at the desk over there.",
        "Am 24. Dezember ist geschlossen, bzw. Nur vormittags offen.",
        "The line is broken here\nbut it goes on all the same, as you hear.",
        "The version is 2.0.1 and the file is called index.html by now.",
    ],
)
def test_what_is_one_sentence_stays_one(text):
    assert len(pieces_of(text)) == 1


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("The toilets are on the left. The exit is ahead.", ["left.", "ahead."]),
        ("Are you looking for me? Here I am, my friend!  And so on we go.", ["me?", "friend!", "go."]),
        ('He said: "It is open." Then he went away.', ['open."', "away."]),
        ("It was built in the year 1889. The tower is tall.", ["1889.", "tall."]),
        ("The desk opens at 9 a.m. Tickets are sold there.", ["a.m.", "there."]),
        ("So do I, said the man to me. And therefore so do I. The rest is silence.", ["me.", "I.", "silence."]),
        ("That is strange indeed… Let me see what there is.", ["indeed…", "is."]),
        ("Bring bread, cheese, etc. Then walk up the hill.", ["etc.", "hill."]),
        ("厕所在左边，请往前走。出口在前面，再见！", ["走。", "再见！"]),
        ("出口はこちらです。「入口はあちらです。」ありがとう。", ["です。", "です。」", "ありがとう。"]),
        ("أين المتحف الكبير؟ إنه في الشارع التالي.", ["؟", "."]),
        ("संग्रहालय बाईं ओर है। टिकट यहाँ मिलते हैं।", ["है।", "हैं।"]),
        ("**Opening hours**\n- Monday to Friday: 9 to 5\n- Saturday: closed", ["hours", "5", "closed"]),
        ("The first paragraph ends here\n\nthe second one goes on", ["here", "on"]),
    ],
)
def test_sentences_end_where_they_end(text, ends):
    said = said_of(text)
    assert len(said) == len(ends), said
    for piece, end in zip(said, ends, strict=True):
        assert piece.endswith(end)


def test_short_ones_go_along_with_the_next():
    assert said_of("Yes. Of course! The exit is on the left.") == ["Yes. Of course!", "The exit is on the left."]
    assert said_of("好的。出口在左边，请往前走。") == ["好的。出口在左边，请往前走。"]
    assert said_of("Yes.") == ["Yes."]


def test_the_first_sentence_is_there_as_soon_as_the_second_begins():
    sentences = Sentences()
    assert sentences.add("The exit is on the left.") == []
    assert [piece.text for piece in sentences.add(" A")] == ["The exit is on the left."]


def test_a_long_first_sentence_is_begun_before_it_ends():
    clause = "if you go past the big hall and then turn to the right at the old clock"
    said = said_of(f"Certainly, {clause}, {clause}, you will see it.")
    assert said[0] == f"Certainly, {clause},"


@pytest.mark.parametrize("unit", ["blah ", "blah, ", "blah", "一", "一，", "e\u0301", "abcde\u0301x", "👩\u200d🚀"])
def test_a_run_without_end_is_cut(unit):
    pieces = pieces_of(unit * 3000)
    assert max(len(piece.text) for piece in pieces) <= LONGEST
    assert len(pieces) < 3000 * len(unit) / LONGEST * 3 + 5
    assert not any(piece.text.startswith(("\u0301", "\u200d")) for piece in pieces)
    if " " in unit:
        assert all(piece.text.endswith(" ") or piece.text.endswith("blah,") for piece in pieces)


def test_a_run_without_end_is_cut_before_it_ends():
    assert len(Sentences().add("blah " * 1000)) > 10


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Bold** and *slanted* and __both__ and _so_", "Bold and slanted and both and so"),
        ("## Heading", "Heading"),
        ("- one\n- two\n* three", "one. two. three"),
        ("1. one\n2. two", "1. one. 2. two"),
        ("> quoted", "quoted"),
        ("Run `kioskd status` now", "Run kioskd status now"),
        ("See [the map](https://example.org/map.png) there", "See the map there"),
        ("![a tower](tower.jpg)", "a tower"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("one<br>two", "one two"),
        ("| Day | Hours |\n|---|:---:|\n| Monday | 9 to 5 |", "Day, Hours. Monday, 9 to 5"),
        ("before\n\n---\n\nafter", "before. after"),
        ("snake_case and 3 * 4 * 5 = 60 and 2*3", "snake_case and 3 * 4 * 5 = 60 and 2*3"),
        ("5 > 3 and #1, -5 °C", "5 > 3 and #1, -5 °C"),
        ("Welcome! 😀👍🏽 ☀️", "Welcome!"),
        ("***", ""),
        ("…", ""),
        ("  spaces \t everywhere  ", "spaces everywhere"),
        ("a broken\nline", "a broken line"),
    ],
)
def test_only_what_can_be_said_is_spoken(written, said):
    assert spoken(written) == said


def test_a_mark_in_mid_line_is_no_list():
    assert spoken("- 5 degrees", line_begins=False) == "- 5 degrees"


def test_stars_around_several_sentences_are_not_spoken():
    assert said_of("**The exit is on the left. The desk is there.** Goodbye, dear friend.") == [
        "The exit is on the left.",
        "The desk is there.",
        "Goodbye, dear friend.",
    ]


def test_the_least_is_what_makes_a_request_worth_while():
    assert len(said_of(("a" * LEAST + ". ") * 1 + "Bbb ccc ddd eee.")) == 2
    assert len(said_of(("a" * (LEAST - 1) + ". ") + "Bbb ccc ddd eee.")) == 1
