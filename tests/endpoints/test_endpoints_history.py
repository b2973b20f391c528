"""What a new session is told of the conversation so far: the right words, within bounds."""

import pytest
from attrs import evolve
from fake_peer import MS, utterance
from hypothesis import example, given
from hypothesis import strategies as st

from kioskd.config.schema import Conversation
from kioskd.dialogue.events import Speaker
from kioskd.endpoints.history import CUT, INTERRUPTED, SOUND_BYTES_MAX, TEXT_MAX, History
from kioskd.realtime.replay import Said

SETTINGS = Conversation()


@pytest.fixture
def history():
    return History(SETTINGS)


def converse(history, turn, question="Who?", answer="Me.", *, ms=1000.0, sound=None):
    """A whole turn."""
    history.asked(turn, sound=sound)
    history.saying(turn, answer)
    history.sounded(turn, ms)
    if question:
        history.said(turn, Speaker.VISITOR, question)
    history.said(turn, Speaker.KIOSK, answer)


def asked_and_answered(question, answer):
    return [Said(Speaker.VISITOR, question), Said(Speaker.KIOSK, answer)]


def test_turns_come_back_in_order(history):
    converse(history, 1, "One?", "Yes.")
    converse(history, 2, "Two?", "No.")
    assert history.replay() == asked_and_answered("One?", "Yes.") + asked_and_answered("Two?", "No.")


def test_a_question_without_an_answer_is_not_part_of_it(history):
    converse(history, 1)
    history.asked(2)
    history.said(2, Speaker.VISITOR, "And then?")
    assert history.replay() == asked_and_answered("Who?", "Me.")


def test_only_so_many_turns_count():
    history = History(evolve(SETTINGS, history_turns=3))
    for turn in range(1, 8):
        converse(history, turn, f"{turn}?", f"{turn}.")
    assert [said.text for said in history.replay()] == ["5?", "5.", "6?", "6.", "7?", "7."]
    history.asked(8)
    assert [said.text for said in history.replay()] == ["5?", "5.", "6?", "6.", "7?", "7."]


def test_no_turns_means_no_replay():
    history = History(evolve(SETTINGS, history_turns=0))
    converse(history, 1)
    assert history.replay() == []


def test_the_latest_characters_count():
    history = History(evolve(SETTINGS, history_characters=20))
    for turn, size in ((1, 2), (2, 9), (3, 7)):
        converse(history, turn, "?" * size, "." * 2)
    assert [len(said.text) for said in history.replay()] == [9, 2, 7, 2]


def test_an_endless_answer_is_kept_to_its_bound():
    history = History(evolve(SETTINGS, history_characters=20000))
    history.asked(1, "Tell me everything.")
    for _ in range(TEXT_MAX):
        history.saying(1, "blah ")
    history.sounded(1, 10)
    assert len(history.replay()[1].text) <= TEXT_MAX + len(CUT)


def test_what_an_interrupted_visitor_heard_is_an_estimate_and_marked(history):
    history.asked(1, "Count!")
    history.saying(1, "one two three four five six seven eight nine ten ")
    history.sounded(1, 4000)
    history.interrupted(1, 2000)
    question, answer = history.replay()
    assert answer.text.endswith(INTERRUPTED)
    words = answer.text.removesuffix(INTERRUPTED)
    assert words and "one two three four five six".startswith(words) and words.endswith(("four", "five"))
    assert question == Said(Speaker.VISITOR, "Count!")


def test_of_words_without_blanks_as_much_is_known_as_was_heard(history):
    history.asked(1)
    history.saying(1, "博物馆早上九点开门晚上五点关门")
    history.sounded(1, 8000.0)
    history.interrupted(1, 4000)
    assert history.replay()[-1].text == "博物馆早上九点开" + INTERRUPTED


def test_of_a_latest_answer_beyond_the_bound_the_end_counts():
    history = History(evolve(SETTINGS, history_characters=100))
    converse(history, 1, "Who?", " ".join(f"word{number}" for number in range(100)))
    question, answer = history.replay()
    assert question.text == "Who?"
    assert 80 < len(answer.text) <= 96 and answer.text.startswith("word") and answer.text.endswith("word98 word99")


def test_an_answer_that_was_heard_to_its_end_is_not_marked(history):
    converse(history, 1, ms=1000)
    history.interrupted(1, 1000)
    assert history.replay() == asked_and_answered("Who?", "Me.")


def test_an_answer_of_which_nothing_was_heard_is_no_part_of_it(history):
    converse(history, 1)
    history.interrupted(1, 0)
    assert history.replay() == []


def test_an_answer_that_broke_off_is_marked_as_cut(history):
    history.asked(1, "Count!")
    history.saying(1, "one two")
    history.sounded(1, 400)
    assert history.replay()[1] == Said(Speaker.KIOSK, "one two" + CUT)


def test_a_cut_answer_that_was_interrupted_too_is_marked_once(history):
    history.asked(1, "Count!")
    history.saying(1, "one two three four ")
    history.sounded(1, 400)
    history.interrupted(1, 200)
    assert CUT not in history.replay()[1].text and history.replay()[1].text.endswith(INTERRUPTED)


def test_a_cancelled_turn_is_no_part_of_it(history):
    converse(history, 1)
    history.asked(2, "Nonsense?")
    history.dropped(2)
    history.sounded(2, 1000)
    assert history.replay() == asked_and_answered("Who?", "Me.")


def test_a_cancelled_answer_was_not_heard_though_it_had_begun(history):
    converse(history, 1)
    converse(history, 2, "Nonsense?", "Nonsense.")
    history.dropped(2)  # as `cancel` of the port: nothing of it was heard
    assert history.replay() == asked_and_answered("Who?", "Me.")


def test_a_question_that_nobody_wrote_down_comes_back_as_sound(history):
    converse(history, 1, question="", sound=utterance(1, b"\1\2" * 500))
    assert history.replay() == [Said(Speaker.VISITOR, pcm=b"\1\2" * 500), Said(Speaker.KIOSK, "Me.")]
    assert history.lost_questions == 0


def test_a_late_transcript_takes_the_place_of_the_sound(history):
    converse(history, 1, question="", sound=utterance(1))
    history.said(1, Speaker.VISITOR, "Who?")
    assert history.replay() == asked_and_answered("Who?", "Me.")


def test_sound_is_replayed_within_its_bound_and_what_is_lost_is_counted(history):
    half = bytes(SOUND_BYTES_MAX // 2)
    for turn in (1, 2, 3):
        converse(history, turn, question="", answer=f"{turn}.", sound=utterance(turn, half))
    said = history.replay()
    assert sum(len(piece.pcm) for piece in said) == SOUND_BYTES_MAX
    assert [piece.text for piece in said if piece.speaker is Speaker.KIOSK] == ["1.", "2.", "3."]
    assert said[0] == Said(Speaker.KIOSK, "1.")
    assert history.lost_questions == 1


def test_questions_that_were_written_down_leave_the_bound_to_others(history):
    half = bytes(SOUND_BYTES_MAX // 2)
    converse(history, 1, question="", sound=utterance(1, half))
    for turn in (2, 3, 4):
        converse(history, turn, sound=utterance(turn, half))
    assert history.replay()[0] == Said(Speaker.VISITOR, pcm=half)


def test_an_answer_without_words_leaves_its_question(history):
    history.asked(1, "Sing!")
    history.sounded(1, 1000)
    assert history.replay() == [Said(Speaker.VISITOR, "Sing!")]


def test_nothing_remains_of_a_visitor(history):
    converse(history, 1)
    history.asked(2, "And?")
    history.forget()
    history.sounded(2, 100)
    history.said(2, Speaker.KIOSK, "The old visitor's.")
    assert history.replay() == []


@pytest.mark.parametrize("change", ["heard", "interrupted", "forgotten"])
def test_what_was_said_changes_the_revision(history, change):
    converse(history, 1)
    before = history.revision
    match change:
        case "heard":
            converse(history, 2)
        case "interrupted":
            history.interrupted(1, 10)
        case "forgotten":
            history.forget()
    assert history.revision != before


def test_replaying_changes_nothing(history):
    converse(history, 1)
    history.asked(2)
    before = history.revision
    assert history.replay() == history.replay() and history.revision == before


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["asked", "words", "sounded", "saying", "said", "interrupted", "dropped", "forget"]),
        st.integers(1, 6),
        st.integers(0, 30_000),
    ),
    max_size=60,
)


@example([("asked", 1, 0), ("sounded", 1, 1)], 1, 0)
@given(STEPS, st.integers(0, 5), st.integers(0, 3000))
def test_whatever_happens_it_keeps_its_bounds(steps, turns, characters):
    history = History(evolve(SETTINGS, history_turns=turns, history_characters=characters))
    for step, turn, size in steps:
        match step:
            case "asked":
                history.asked(turn, sound=utterance(turn, bytes(2 * size * MS)))
            case "words":
                history.said(turn, Speaker.VISITOR, "q" * size)
            case "sounded":
                history.sounded(turn, size)
            case "saying":
                history.saying(turn, "a " * size)
            case "said":
                history.said(turn, Speaker.KIOSK, "a" * size)
            case "interrupted":
                history.interrupted(turn, size)
            case "dropped":
                history.dropped(turn)
            case "forget":
                history.forget()
                assert history.replay() == []
        said = history.replay()
        assert sum(len(piece.text) for piece in said) <= characters
        assert sum(len(piece.pcm) for piece in said) <= SOUND_BYTES_MAX
        assert len([piece for piece in said if piece.speaker is Speaker.VISITOR]) <= turns
        assert len([piece for piece in said if piece.speaker is Speaker.KIOSK]) <= turns
        assert all(piece.text or piece.pcm for piece in said)
