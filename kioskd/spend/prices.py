"""What an answer costs by its seller's prices. PURE.

Money is a whole number of nanos (billionths) of the owner's currency: each booking is rounded once, and sums are exact.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from attrs import astuple, frozen

from kioskd.config.endpoint_schema import By, Endpoint, EndpointKind
from kioskd.config.spend_meaning import Texts, texts_of
from kioskd.config.spend_schema import Prices
from kioskd.value import Value

NANO = 10**9
MILLION = 10**6
MINUTE_MS = 60_000
_DIGITS = 60  # prices have up to 15, amounts 12: nothing is rounded on the way


@frozen(eq=False, repr=False)
class Amounts(Value):
    """What one answer took: tokens as in dialogue.events.Usage, sound in ms, characters that were spoken."""

    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0  # of input_text
    cached_audio: int = 0  # of input_audio
    output_text: int = 0
    output_audio: int = 0
    heard_ms: int = 0
    spoken_ms: int = 0
    characters: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    @property
    def tokens(self) -> int:
        """All of them, in and out."""
        return self.input_text + self.input_audio + self.output_text + self.output_audio


def cost(amounts: Amounts, endpoint: Endpoint, model: str | None = None) -> int:
    """What it costs at this endpoint, in nanos; 0 without prices. `model`: None for the endpoint's own."""
    prices = endpoint.prices
    if prices is None:
        return 0
    with localcontext() as exact:
        exact.prec = _DIGITS
        summed = _tokens(
            amounts, prices, _text_prices(prices, model or endpoint.model, model in (None, endpoint.model))
        )
        if endpoint.kind in (EndpointKind.CHAT, EndpointKind.RESPONSES):
            summed += _around_text(amounts, endpoint, prices)
        nanos = summed * _decimal(prices.rate, Decimal(1)) * NANO
        return int(nanos.to_integral_value(ROUND_HALF_EVEN))


def is_free(endpoint: Endpoint) -> bool:
    """Whether it costs nothing, for certain."""
    if endpoint.kind is EndpointKind.LOCAL:
        return True
    prices = endpoint.prices
    if prices is None:
        return False
    given = [prices.text_input, prices.text_cached, prices.audio_input, prices.audio_cached, prices.text_output,
             prices.audio_output, prices.hearing_minute, prices.speech_minute, prices.speech_characters]  # fmt: skip
    others = (price for text in prices.text_of_models.values() for price in (texts_of(text) or (1,)))
    stated = [price for price in given if price is not None]
    return bool(stated or prices.text_of_models) and not any(stated) and not any(others)


def nanos(amount: float) -> int:
    """An amount of the settings, in nanos."""
    return int((Decimal(str(amount)) * NANO).to_integral_value(ROUND_HALF_EVEN))


def shown(amount: int, currency: str) -> str:
    """An amount in nanos for people: to the cent, what is less than one to its first two digits."""
    value = Decimal(amount) / NANO
    if amount and abs(amount) < NANO // 100:
        places = -value.adjusted() + 1
        return f"{value:.{places}f} {currency}"
    return f"{value:.2f} {currency}"


def _text_prices(prices: Prices, model: str, is_own: bool) -> Texts:
    """Of a million tokens of text, read, read again and written. The endpoint's own prices are its own model's."""
    text_in = _decimal(prices.text_input)
    plain = text_in, _decimal(prices.text_cached, text_in), _decimal(prices.text_output)
    if is_own and (prices.text_input is not None or prices.text_output is not None):
        return plain
    return texts_of(prices.text_of_models.get(model, "")) or plain


def _tokens(amounts: Amounts, prices: Prices, texts: Texts) -> Decimal:
    """In the seller's currency."""
    text_in, text_again, text_out = texts
    audio_in = _decimal(prices.audio_input)
    cached_text = min(amounts.cached_text, amounts.input_text)
    cached_audio = min(amounts.cached_audio, amounts.input_audio)
    summed = (
        text_in * (amounts.input_text - cached_text)
        + text_again * cached_text
        + audio_in * (amounts.input_audio - cached_audio)
        + _decimal(prices.audio_cached, audio_in) * cached_audio
        + text_out * amounts.output_text
        + _decimal(prices.audio_output) * amounts.output_audio
    )
    return summed / MILLION


def _around_text(amounts: Amounts, endpoint: Endpoint, prices: Prices) -> Decimal:
    """Hearing and speech, where a seller does them."""
    summed = Decimal(0)
    if endpoint.hearing.by is By.ENDPOINT:
        summed += _decimal(prices.hearing_minute) * amounts.heard_ms / MINUTE_MS
    if endpoint.speech.by is By.ENDPOINT:
        summed += _decimal(prices.speech_minute) * amounts.spoken_ms / MINUTE_MS
        summed += _decimal(prices.speech_characters) * amounts.characters / MILLION
    return summed


def _decimal(price: float | None, missing: Decimal = Decimal(0)) -> Decimal:
    """As its owner wrote it: 0.1 is a tenth."""
    return missing if price is None else Decimal(str(price))
