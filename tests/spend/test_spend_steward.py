"""The steward: books, keeps to the caps over restarts and jumps of the clock, and says who is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from attrs import define, evolve, field
from spend_parts import at, endpoint

from kioskd.config.schema import Endpoint, EndpointKind, Settings
from kioskd.config.spend_schema import Caps, Choice, Order, Spend
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.events import Ending, Usage
from kioskd.spend.ledger import read
from kioskd.spend.lines import Booking, Note
from kioskd.steward import Steward

LOBBY = endpoint("lobby", text_output=1)  # a token is 1000 nanos, so that 10,000 are a cent
SPARE = endpoint("spare", text_output=1)
LOCAL = Endpoint("local", kind=EndpointKind.LOCAL, faq="/faq")
CENT = 10_000
SETTINGS = Settings((LOBBY, SPARE, LOCAL), spend=Spend(caps=Caps(day=0.01)))


@define(eq=False)
class Kiosk:
    directory: Path
    settings: Settings = SETTINGS
    boot: str = "boot0001"
    jump_s: float = 0.0
    passed_s: float = 0.0  # not by trio's clock, which jumps while a thread writes
    serving: str = "lobby"
    preferred: list[tuple[list[str], dict[str, str]]] = field(factory=list)
    steward: Steward = field(init=False)
    turn: int = 0

    def __attrs_post_init__(self) -> None:
        self.steward = Steward(
            self.settings,
            self.directory / "spend",
            lambda: self.serving,
            lambda names, barred: self.preferred.append((list(names), dict(barred))),
            now=lambda: at(self.passed_s, self.boot, self.jump_s),
        )

    def converse(self, tokens: int, wait_s: float = 1.0) -> None:
        self.turn += 1
        turn, now = self.turn, trio.current_time()
        for what, after_s in (
            (f.BeginUtterance(turn, 0), 0.0),
            (e.UtteranceEnded(turn, 30_000), 0.0),
            (f.Ask(turn), 0.0),
            (e.AnswerAudio(turn, b"", 30_000.0), wait_s),
            (Usage(turn, output_text=tokens), wait_s),
            (e.AnswerEnded(turn, Ending.COMPLETE), wait_s),
        ):
            self.steward(what, now + after_s)

    @property
    def barred(self) -> set[str]:
        return set(self.preferred[-1][1])

    def bookings(self) -> list[Booking]:
        return [line for line in read(self.directory / "spend") if isinstance(line, Booking)]

    def notes(self) -> list[str]:
        return [line.text for line in read(self.directory / "spend") if isinstance(line, Note)]


async def settled(kiosk: Kiosk) -> None:
    """Whatever is under way in threads is done."""
    while not kiosk.steward._loaded or kiosk.steward._waiting:
        await trio.to_thread.run_sync(lambda: None)


async def test_at_a_cap_of_a_cent_only_what_is_free_is_left_and_the_ledger_says_why(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    kiosk = Kiosk(tmp_path)
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    kiosk.converse(CENT - 1)
    assert kiosk.barred == set()
    kiosk.converse(1)
    assert kiosk.barred == {"lobby", "spare"}
    assert "0.01 USD of 0.01 USD spent in the last 24 hours" in kiosk.preferred[-1][1]["lobby"]
    await settled(kiosk)
    assert [line.cost for line in kiosk.bookings()] == [(CENT - 1) * 1000, 1000]
    assert len(kiosk.notes()) == 2 and "cap reached" in kiosk.notes()[0]
    kiosk.passed_s = 86_400 + 60
    kiosk.steward.look()
    assert kiosk.barred == set()
    await settled(kiosk)
    assert sum("may answer again" in note for note in kiosk.notes()) == 2


async def test_an_endpoints_own_cap_leaves_the_next_one(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    settings = Settings((evolve(LOBBY, caps=Caps(hour=0.01)), SPARE))
    kiosk = Kiosk(tmp_path, settings)
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    kiosk.serving = "spare"
    kiosk.converse(5 * CENT)
    assert kiosk.barred == set()
    kiosk.serving = "lobby"
    kiosk.converse(CENT)
    assert kiosk.barred == {"lobby"}


@pytest.mark.parametrize("jump_s", [-400 * 86_400.0, -90_000.0, 90_000.0, 400 * 86_400.0])
async def test_neither_a_restart_nor_a_clock_that_jumps_lets_a_cap_escape(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, jump_s: float
) -> None:
    for restarts in range(3):
        kiosk = Kiosk(tmp_path, jump_s=jump_s * restarts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kiosk.steward.run)
            await settled(kiosk)
            if restarts == 0:
                kiosk.converse(CENT)
            kiosk.steward.look()
            assert kiosk.barred == {"lobby", "spare"}
            kiosk.jump_s += jump_s
            kiosk.steward.look()
            assert kiosk.barred == {"lobby", "spare"}
            await settled(kiosk)
            nursery.cancel_scope.cancel()
    assert len(kiosk.bookings()) == 1


async def test_what_was_taken_before_the_past_was_read_or_as_it_stops_is_written_too(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.converse(7)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kiosk.steward.run)
        await settled(kiosk)
        kiosk.converse(8)
        nursery.cancel_scope.cancel()
    assert [line.amounts.output_text for line in kiosk.bookings()] == [7, 8]


async def test_near_a_cap_there_is_one_warning_and_a_figure(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    kiosk = Kiosk(tmp_path)
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    for _ in range(3):
        kiosk.converse(CENT * 3 // 10)
    assert [record.levelname for record in caplog.records if "90% of the cap" in record.message] == ["WARNING"]
    (cap,) = kiosk.steward.figures["caps"]
    assert (cap["level"], cap["share"], kiosk.steward.figures["currency"]) == ("near", 0.9, "USD")


async def test_a_disk_that_cannot_be_written_costs_no_turn_and_no_cap(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spend").write_text("in the way")
    kiosk = Kiosk(tmp_path)
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    kiosk.converse(CENT)
    await trio.sleep(100)
    assert kiosk.barred == {"lobby", "spare"}
    assert sum(record.levelname == "WARNING" and "spend: " in record.message for record in caplog.records) == 1 + 1


async def test_the_cheaper_one_goes_first_once_it_is_known_and_local_stays_last(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    kiosk = Kiosk(tmp_path, Settings((LOBBY, SPARE, LOCAL), choice=Choice(order=Order.CHEAPEST)))
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    for name, tokens in (("lobby", 1000), ("spare", 100), ("local", 0)):
        kiosk.serving = name
        for _ in range(3):
            kiosk.converse(tokens)
    assert kiosk.preferred[-1][0] == ["spare", "lobby", "local"]
    kiosk.steward.adjust(evolve(kiosk.settings, choice=Choice()))
    assert kiosk.preferred[-1][0] == ["lobby", "spare", "local"]


async def test_credits_that_run_low_are_told_once(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from kioskd.endpoints import credits

    left = iter([9.0, 4.0, 3.0, None, 2.0])

    async def credits_of(settings: Endpoint, key: str) -> float | None:
        assert key == "key"
        return next(left, 2.0)

    monkeypatch.setattr(credits, "credits_of", credits_of)
    kiosk = Kiosk(tmp_path, Settings((LOBBY, LOCAL), spend=Spend(credits_warn_below=5)))
    kiosk.steward._key_of = lambda settings: "key"
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    await trio.sleep(6 * 3600)
    warned = [record.message for record in caplog.records if "credits" in record.message]
    assert warned == ["lobby: 4 credits are left, less than 5; buy more"]
    assert kiosk.steward.figures["credits"] == {"lobby": 2.0}
    assert kiosk.steward.figures["credits_warn_below"] == 5
