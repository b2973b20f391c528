"""The whole of the demo's FAQ, spoken and heard with the real programs: what it has is understood, the rest is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kioskd.config.places import shipped
from kioskd.local.faq import Faq, load_faq, questions_of
from kioskd.local.hear import Recogniser
from kioskd.local.speak import synthesise

STRANGE = (
    "where can I buy a green elephant",
    "please call me a taxi",
    "what is the capital of france",
    "who painted this picture",
    "open the door please",
    "how tall is the eiffel tower",
    "is there a hospital nearby",
    "hello hello one two three",
    "can you sing a song for me",
    "i would like to order a pizza",
)


@pytest.fixture
def faq() -> Faq:
    return load_faq(shipped("demo-faq.yaml"))


@pytest.fixture
async def recogniser(faq: Faq) -> AsyncIterator[Recogniser]:
    async with Recogniser(faq) as ears:
        yield ears


async def test_the_faq_is_understood_and_strange_questions_are_not(faq: Faq, recogniser: Recogniser) -> None:
    questions = [question.text for question in questions_of(faq)]
    right = [text for text in questions if (await recogniser.hear(await synthesise(text))).text == text]
    assert len(right) >= 0.95 * len(questions), set(questions) - set(right)
    taken = [text for text in STRANGE if (await recogniser.hear(await synthesise(text))).entry]
    assert taken == []
