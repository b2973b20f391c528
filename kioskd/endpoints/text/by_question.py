"""A text model that asks another one of its endpoint's for some questions, by the owner's rules."""

from __future__ import annotations

from attrs import evolve

from kioskd.config.schema import Endpoint
from kioskd.endpoints.choice import model_for
from kioskd.endpoints.text.model import Finish, Request, Role, Take, TextModel


class ByQuestion:
    """A TextModel around another. The newest question decides; its tools' results go to the same model."""

    def __init__(self, settings: Endpoint, model: TextModel) -> None:
        self._settings = settings
        self._model = model

    async def run(self) -> None:
        """See TextModel."""
        await self._model.run()

    async def check(self) -> None:
        """See TextModel."""
        await self._model.check()

    async def answer(self, request: Request, take: Take) -> Finish:
        """See TextModel."""
        asked = (each for each in reversed(request.messages) if each.role is Role.VISITOR and not each.answers_call)
        question = next(asked, None)
        chosen = model_for(self._settings, question.text) if question is not None else self._settings.model
        return await self._model.answer(evolve(request, model=chosen), take)

    def forget(self) -> None:
        """See TextModel."""
        self._model.forget()
