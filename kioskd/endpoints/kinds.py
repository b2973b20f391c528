"""Which module answers for an endpoint, by its kind. What a kind needs is loaded only where one is configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from kioskd.config.schema import By, Conversation, Endpoint, EndpointKind, KeySource, Transport
from kioskd.endpoints.history import History
from kioskd.endpoints.toolbox import Toolbox

if TYPE_CHECKING:
    from kioskd.endpoints.answering import Answerer
    from kioskd.endpoints.on_site import Site
    from kioskd.endpoints.realtime import RealtimeEndpoint
    from kioskd.endpoints.text.model import TextModel
    from kioskd.endpoints.turnwise import TurnwiseEndpoint
    from kioskd.endpoints.voice.hearing import Ears
    from kioskd.endpoints.voice.speech import Voice

ReadKey = Callable[[], str]


@frozen(eq=False, repr=False)
class Locals:
    """What this machine can do without a network. Errors as those of `on_site.Site`.

    Attributes:
        site: The questions and answers of an FAQ file, by its path.
        speak: A text in a language, as s16le mono at 24 kHz.
    """

    site: Callable[[str], Site]
    speak: Callable[[str, str], Awaitable[bytes]]


def make_endpoint(
    settings: Endpoint,
    conversation: Conversation,
    read_key: Callable[[Endpoint], str],
    history: History,
    here: Locals,
    toolbox: Toolbox | None = None,
) -> RealtimeEndpoint | TurnwiseEndpoint:
    """The endpoint of these settings. `read_key` reads a key anew at each call, and may raise OSError, ValueError."""
    if settings.kind is EndpointKind.REALTIME:
        from kioskd.endpoints.realtime import RealtimeEndpoint

        return RealtimeEndpoint(settings, conversation, partial(read_key, settings), history=history, toolbox=toolbox)

    from kioskd.endpoints.turnwise import TurnwiseEndpoint

    def answerer(settings: Endpoint, conversation: Conversation) -> Answerer:
        return make_answerer(settings, conversation, read_key, here, toolbox)

    return TurnwiseEndpoint(settings, conversation, answerer, lambda: _keys(settings, read_key), history=history)


def make_answerer(
    settings: Endpoint,
    conversation: Conversation,
    read_key: Callable[[Endpoint], str],
    here: Locals,
    toolbox: Toolbox | None = None,
) -> Answerer:
    """Who answers turn by turn, for any kind but realtime."""
    key = partial(read_key, settings)
    match settings.kind:
        case EndpointKind.LOCAL:
            from kioskd.endpoints.on_site import OnSite

            return OnSite(conversation, here.site(settings.faq or ""))
        case EndpointKind.AUDIO_SSE:
            from kioskd.endpoints.audio_sse import AudioSse

            return AudioSse(settings, key, conversation, toolbox)
    from kioskd.endpoints.cascade import Cascade
    from kioskd.endpoints.voice.hearing import HearingOverHttp
    from kioskd.endpoints.voice.speech import LocalVoice, SpeechOverHttp

    ears: Ears
    if settings.hearing.by is By.LOCAL:
        from kioskd.endpoints.on_site import SiteEars

        ears = SiteEars(here.site(settings.hearing.grammar or ""))
    else:
        ears = HearingOverHttp(settings, _key_of(settings, settings.hearing.key, read_key), conversation.language)
    voice: Voice
    if settings.speech.by is By.LOCAL:
        language = conversation.language or "en"
        voice = LocalVoice(lambda text: here.speak(text, language))
    else:
        voice = SpeechOverHttp(settings, _key_of(settings, settings.speech.key, read_key))
    model = make_model(settings, key)
    if settings.model_for_question:
        from kioskd.endpoints.text.by_question import ByQuestion

        model = ByQuestion(settings, model)
    return Cascade(ears, model, voice, conversation, toolbox)


def make_model(settings: Endpoint, read_key: ReadKey) -> TextModel:
    """The text model of the kinds responses and chat."""
    if settings.kind is EndpointKind.RESPONSES:
        from kioskd.endpoints.text.responses_socket import ResponsesOverSocket

        return ResponsesOverSocket(settings, read_key)
    if settings.transport is Transport.WEBSOCKET:
        from kioskd.endpoints.text.chat_socket import ChatOverSocket

        return ChatOverSocket(settings, read_key)
    from kioskd.endpoints.text.chat_http import ChatOverHttp

    return ChatOverHttp(settings, read_key)


def _key_of(settings: Endpoint, own: KeySource | None, read_key: Callable[[Endpoint], str]) -> ReadKey:
    """The key of who hears or speaks: its own, or the endpoint's."""
    return partial(read_key, settings if own is None else evolve(settings, key=own))


def _keys(settings: Endpoint, read_key: Callable[[Endpoint], str]) -> str:
    """All the keys of an endpoint, so that a change of any is seen."""
    sources = (settings.key, settings.hearing.key, settings.speech.key)
    return "\n".join(read_key(evolve(settings, key=source)) for source in sources if source is not None)
