"""The steward: books, keeps to the caps over restarts and jumps of the clock, and says who is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import define, evolve, field
from spend_parts import at, booking, endpoint

from kioskd.config.schema import Endpoint, EndpointKind, Settings
from kioskd.config.spend_schema import Caps, Choice, Order, Spend
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.events import Ending, Usage
from kioskd.spend.ledger import SUMS, Ledger, LedgerError, read
from kioskd.spend.lines import Booking, Line, Note
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
            key_of=lambda settings: "key",
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


async def until(condition: Callable[[], bool]) -> None:
    """Hours may pass meanwhile, and threads do what they have to."""
    while not condition():
        await trio.sleep(10)
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
    assert len(kiosk.notes()) == 2, "a start at the cap is no news"
    assert len(list((tmp_path / "spend").glob("*.log"))) <= 2


async def test_a_cap_that_was_left_while_the_kiosk_was_off_is_noted(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    for passed_s in (0.0, 2 * 86_400.0):
        kiosk = Kiosk(tmp_path, passed_s=passed_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kiosk.steward.run)
            await settled(kiosk)
            if not passed_s:
                kiosk.converse(CENT)
            await settled(kiosk)
            nursery.cancel_scope.cancel()
    assert sum("may answer again" in note for note in kiosk.notes()) == 2 and len(kiosk.notes()) == 4


async def test_a_part_that_crashes_and_runs_again_counts_nothing_twice(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    kiosk = Kiosk(tmp_path, evolve(SETTINGS, spend=Spend(caps=Caps(day=0.02))))
    for broken in (True, True, False):
        async with trio.open_nursery() as nursery:
            part = trio.CancelScope()

            async def run(part: trio.CancelScope = part) -> None:
                with part:
                    await kiosk.steward.run()

            nursery.start_soon(run)
            await settled(kiosk)
            kiosk.converse(CENT // 2)
            if broken:
                await settled(kiosk)
            part.cancel()
    assert kiosk.steward.figures["spent"]["day"] == 0.015 and kiosk.barred == set()
    assert [line.cost for line in kiosk.bookings()] == [CENT * 500] * 3


@pytest.mark.parametrize("begins", [True, False])
async def test_the_ledger_is_written_from_the_moment_it_is_wanted(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery, begins: bool
) -> None:
    kiosk = Kiosk(tmp_path, Settings((LOBBY, LOCAL), spend=Spend(ledger=begins)))
    nursery.start_soon(kiosk.steward.run)
    written, wanted = [], begins
    for tokens in (1, 2, 3, 4):
        await settled(kiosk)
        kiosk.converse(tokens)
        await settled(kiosk)
        written += [tokens] if wanted else []
        wanted = not wanted
        kiosk.steward.adjust(evolve(kiosk.settings, spend=Spend(ledger=wanted)))
    assert [line.amounts.output_text for line in kiosk.bookings()] == written


async def test_without_a_ledger_what_was_written_before_still_counts(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    for ledger in (True, False):
        kiosk = Kiosk(tmp_path, evolve(SETTINGS, spend=Spend(ledger=ledger, caps=Caps(day=0.01))))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kiosk.steward.run)
            await settled(kiosk)
            if ledger:
                kiosk.converse(CENT)
            await settled(kiosk)
            nursery.cancel_scope.cancel()
        assert kiosk.barred == {"lobby", "spare"}


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


async def test_a_ledger_that_opens_only_later_has_forgotten_nothing(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_full = Ledger.open, True

    def open_it(ledger: Ledger) -> list[Line]:
        if is_full:
            raise LedgerError("the disk is full")
        return real(ledger)

    before = Ledger(tmp_path / "spend")
    before.open()
    before.append(booking(CENT * 1000, at(-60.0, "boot0000")))
    monkeypatch.setattr(Ledger, "open", open_it)
    kiosk = Kiosk(tmp_path)
    nursery.start_soon(kiosk.steward.run)
    await until(lambda: bool(kiosk.preferred))
    assert kiosk.barred == {"lobby", "spare"}, "what was spent is known"
    kiosk.converse(7)
    await trio.sleep(100)
    assert len(kiosk.bookings()) == 1
    is_full = False
    await until(lambda: not kiosk.steward._waiting)
    assert [line.amounts.output_text for line in kiosk.bookings()[1:]] == [7]
    assert kiosk.steward.figures["spent"]["day"] == pytest.approx(0.010007)


async def test_a_past_that_can_be_read_only_later_counts_then(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    before = Ledger(tmp_path / "spend")
    before.open()
    before.append(booking(CENT * 1000, at(-60.0, "boot0000")))
    (tmp_path / "spend" / SUMS).mkdir()
    kiosk = Kiosk(tmp_path)
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    kiosk.converse(7)
    await trio.sleep(100)
    assert kiosk.barred == set()
    (tmp_path / "spend" / SUMS).rmdir()
    await until(lambda: kiosk.barred == {"lobby", "spare"})
    assert kiosk.steward.figures["spent"]["day"] == pytest.approx(0.010007)


async def test_each_trouble_with_the_disk_is_told(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> list[str]:
        return [record.message for record in caplog.records if record.levelname == "WARNING"]

    kiosk = Kiosk(tmp_path, Settings((LOBBY, LOCAL)))
    nursery.start_soon(kiosk.steward.run)
    for trouble in (1, 2, 3):
        await settled(kiosk)
        (tmp_path / "spend").rename(tmp_path / "away")
        (tmp_path / "spend").write_text("in the way")
        kiosk.converse(7)
        kiosk.converse(8)
        await until(lambda trouble=trouble: len(warnings()) == trouble)  # type: ignore[misc]
        (tmp_path / "spend").unlink()
        (tmp_path / "away").rename(tmp_path / "spend")
        await until(lambda: not kiosk.steward._waiting)
        assert len(warnings()) == trouble
        assert len(kiosk.bookings()) == 2 * trouble


async def test_a_usage_that_comes_late_for_nothing_is_no_second_turn(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    kiosk = Kiosk(tmp_path, Settings((Endpoint("lobby", "wss://a/", "m"),)))
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    for what in (f.Ask(1), e.AnswerAudio(1, b"", 900.0), e.AnswerEnded(1, Ending.COMPLETE), e.Tick()):
        kiosk.steward(what, trio.current_time() + 10.0 * isinstance(what, e.Tick))
    kiosk.steward(Usage(1, output_text=5), trio.current_time() + 20.0)
    await settled(kiosk)
    assert [line.corrects for line in kiosk.bookings()] == [False, True]


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


WAITS = {"lobby": 9.0, "spare": 0.3}


async def test_the_faster_one_is_found_out_and_a_bad_spell_is_forgiven(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    kiosk = Kiosk(tmp_path, Settings((LOBBY, SPARE, LOCAL), choice=Choice(order=Order.FASTEST)))
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)

    def day(waits: dict[str, float]) -> list[str]:
        asked = []
        for _ in range(40):
            kiosk.passed_s += 120.0
            kiosk.steward.look()
            kiosk.serving = kiosk.preferred[-1][0][0]
            asked.append(kiosk.serving)
            kiosk.converse(10, waits[kiosk.serving])
        kiosk.passed_s += 86_400 - 40 * 120 + 600
        return asked

    assert day(WAITS) == ["lobby"] * 3 + ["spare"] * 37
    assert day(WAITS) == ["lobby"] * 3 + ["spare"] * 37, "once a day it may show that it is better now"
    assert day({"lobby": 0.1, "spare": 0.3})[:30] == ["lobby"] * 30


async def test_the_cheaper_one_is_found_by_its_prices_and_judged_by_what_it_takes(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    cheap = endpoint("spare", text_output=0.5)
    kiosk = Kiosk(tmp_path, Settings((LOBBY, cheap, LOCAL), choice=Choice(order=Order.CHEAPEST)))
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    assert kiosk.preferred[-1][0] == ["spare", "lobby", "local"], "before anybody spoke"
    kiosk.serving = "spare"
    for _ in range(3):
        kiosk.converse(100)
    assert kiosk.preferred[-1][0][0] == "spare"
    kiosk.serving = "lobby"
    for _ in range(3):
        kiosk.converse(10)
    assert kiosk.preferred[-1][0][0] == "lobby", "it says the same in fewer words"


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
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    await trio.sleep(6 * 3600)
    warned = [record.message for record in caplog.records if "credits" in record.message]
    assert warned == ["lobby: 4 credits are left, less than 5; buy more"]
    assert kiosk.steward.figures["credits"] == {"lobby": 2.0}
    assert kiosk.steward.figures["credits_warn_below"] == 5


async def test_another_figure_to_be_told_below_counts_at_once_and_is_told_again(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from kioskd.endpoints import credits

    left = [20.0]

    async def credits_of(settings: Endpoint, key: str) -> float | None:
        return left[0]

    monkeypatch.setattr(credits, "credits_of", credits_of)
    kiosk = Kiosk(tmp_path, Settings((LOBBY, LOCAL)))
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    warned, before = [], 0
    for least, left[0] in ((5, 20.0), (50, 20.0), (50, 19.0), (60, 19.0), (5, 19.0), (50, 60.0), (50, 20.0)):
        kiosk.steward.adjust(evolve(kiosk.settings, spend=Spend(credits_warn_below=least)))
        await trio.sleep(1 if least != before else 3601)
        before = least
        warned.append(sum("credits are left" in record.message for record in caplog.records))
    assert warned == [0, 1, 1, 2, 2, 2, 3]
    assert kiosk.steward.figures["credits"] == {"lobby": 20.0}


async def test_a_figure_that_no_number_holds_costs_nothing(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kioskd.endpoints import credits

    async def credits_of(settings: Endpoint, key: str) -> float | None:
        return float(10**400)

    monkeypatch.setattr(credits, "credits_of", credits_of)
    kiosk = Kiosk(tmp_path, Settings((LOBBY, LOCAL), spend=Spend(credits_warn_below=5)))
    nursery.start_soon(kiosk.steward.run)
    await settled(kiosk)
    await trio.sleep(10)
    assert kiosk.steward.figures["credits"] == {}
