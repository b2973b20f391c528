"""A change from its text to its end, on a kiosk, a timer and a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from change_parts import HEALTHY, NEW, OLD, WORSE, World, apply, make, volume

from kioskd.config.disk import WriteError
from kioskd.config.lock import BusyError
from kioskd.config.problems import SettingsError
from kioskd.config.trial import STABLE_S, Health, Start
from kioskd.settings_change.change import Terms
from kioskd.settings_change.settling import settle
from kioskd.settings_change.trials import ChangeError, Outcome, Result


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make(tmp_path)


def test_a_good_change_is_kept_as_soon_as_it_has_shown_to_be(world: World) -> None:
    begun = world.clock.now
    outcome = apply(world)
    assert outcome == Outcome(Result.KEPT, 2, ("audio.volume",))
    assert world.file.read_bytes() == NEW and world.store.current == 2 and world.store.pending is None
    assert not world.timer.armed() and STABLE_S <= world.clock.now - begun < STABLE_S + 2
    assert world.kiosk.reloads == [NEW.decode()]
    about = world.store.about(2)
    assert (about.who, about.how, about.base, about.changed) == ("ann", "apply", 1, ("audio.volume",))
    assert world.store.about(1).how == "as it was found"


def test_a_change_that_makes_it_worse_is_taken_back(world: World) -> None:
    world.kiosk.judged = lambda text: WORSE if "volume" in text else HEALTHY
    outcome = apply(world)
    assert outcome.result is Result.REVERTED and "no card" in outcome.why and "fault speaker" in outcome.why
    assert world.file.read_bytes() == OLD and world.store.pending is None and not world.timer.armed()
    assert world.kiosk.reloads == [NEW.decode(), OLD.decode()]
    assert world.store.outcome(2)[0] == "reverted"


def test_what_was_wrong_before_is_not_the_change_s_fault(world: World) -> None:
    world.kiosk.judged = lambda text: WORSE
    world.kiosk.take()
    assert apply(world).result is Result.KEPT


def test_a_kiosk_that_does_not_take_it_over_is_not_on_new_settings(world: World) -> None:
    world.kiosk.take = lambda: None  # type: ignore[method-assign]
    outcome = apply(world)
    assert outcome.result is Result.REVERTED and "did not take it over" in outcome.why


def test_a_kiosk_that_dies_of_it_again_and_again_is_not_well(world: World) -> None:
    """Healthy at each look, but another process each time."""
    pids = iter(range(100, 1000))

    def restart() -> None:
        world.kiosk.now = evolve(world.kiosk.now, pid=next(pids))

    world.clock.on_sleep = restart
    assert apply(world).result is Result.REVERTED


def test_a_visitor_may_finish(world: World) -> None:
    taken = world.kiosk.take
    world.kiosk.take = lambda: None  # type: ignore[method-assign]
    world.kiosk.now = evolve(world.kiosk.now, busy=True)
    begun = world.clock.now

    def finish() -> None:
        if world.clock.now > begun + 100:
            taken()

    world.clock.on_sleep = finish
    assert apply(world).result is Result.KEPT and world.clock.now > begun + 100


def test_the_timer_is_set_before_anything_counts_and_knows_what_to_do(world: World) -> None:
    outcome = apply(world, terms=Terms(probation_s=60, confirm=True))
    assert outcome.result is Result.ON_TRIAL and world.timer.after_s == 60
    assert world.timer.command[-5:] == ("config", "revert", "2", "--config", "f")
    assert world.file.read_bytes() == NEW


def test_nobody_can_say_what_a_kiosk_lacked_that_was_down_or_hung(world: World) -> None:
    """It comes up by the change, without a network: that is better, whatever is missing now."""
    offline = Health("degraded", frozenset({"link"}), ("no network",), pid=9)
    for before in (Health(), Health("unhealthy", frozenset({"answers"}), ("hangs",))):
        world.file.write_bytes(OLD)
        world.kiosk.judged, world.kiosk.now = lambda text: offline, before
        assert apply(world, volume(len(before.lacks))).result is Result.KEPT


def test_confirmed_it_stays(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    assert world.trials.confirm() == Outcome(Result.KEPT, 2, ("audio.volume",), "confirmed by ann")
    assert not world.timer.armed() and world.trials.revert(2) is None and world.file.read_bytes() == NEW
    with pytest.raises(ChangeError, match="nothing to be confirmed"):
        world.trials.confirm()


def test_what_nobody_goes_by_yet_is_waited_for_and_not_confirmed(world: World) -> None:
    taken = world.kiosk.take
    world.kiosk.take = lambda: None  # type: ignore[method-assign]
    apply(world, terms=Terms(confirm=True))
    with pytest.raises(ChangeError, match="not taken over yet; try again"):
        world.trials.confirm()
    world.kiosk.now = evolve(world.kiosk.now, busy=True)
    with pytest.raises(ChangeError, match=r"not taken over yet \(a visitor is waited for\)"):
        world.trials.confirm()
    assert world.store.pending == 2 and world.timer.armed()
    begun = world.clock.now
    world.clock.on_sleep = lambda: taken() if world.clock.now > begun + 4 else None  # a slow Pi
    assert world.trials.confirm().result is Result.KEPT


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (evolve(HEALTHY, refusal="extra_ca may not be read"), "did not take it over: extra_ca may not be read"),
        (Health("unhealthy", frozenset({"answers"}), ("no answer",)), "does not answer: no answer"),
        (Health(), "does not run"),
    ],
)
def test_what_the_kiosk_did_not_take_over_is_not_confirmed(world: World, now: Health, words: str) -> None:
    world.kiosk.take = lambda: setattr(world.kiosk, "now", now)  # type: ignore[method-assign]
    apply(world, terms=Terms(confirm=True))
    with pytest.raises(ChangeError, match=words):
        world.trials.confirm()
    assert world.store.pending == 2
    assert world.trials.confirm(anyway=True).result is Result.KEPT


def test_what_is_taken_back_while_it_is_to_be_confirmed_is_taken_back(world: World) -> None:
    world.kiosk.take = lambda: None  # type: ignore[method-assign]
    apply(world, terms=Terms(confirm=True))

    def its_time_is_over() -> None:
        world.trials.revert(2)

    world.clock.on_sleep = its_time_is_over
    assert world.trials.confirm().result is Result.REVERTED


def test_not_confirmed_it_goes(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    outcome = world.trials.revert(2)
    assert outcome is not None and outcome.why == "not confirmed in time" and world.file.read_bytes() == OLD


def test_what_does_harm_is_confirmed_only_by_force(world: World) -> None:
    world.kiosk.judged = lambda text: WORSE if "volume" in text else HEALTHY
    apply(world, terms=Terms(confirm=True))
    with pytest.raises(ChangeError, match="no card"):
        world.trials.confirm()
    assert world.store.pending == 2
    assert world.trials.confirm(anyway=True).result is Result.KEPT


@pytest.mark.parametrize("worse", [True, False])
def test_the_maker_is_gone_and_the_timer_decides(world: World, worse: bool) -> None:
    if worse:
        world.kiosk.judged = lambda text: WORSE if "volume" in text else HEALTHY

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    world.clock.on_sleep = kill
    with pytest.raises(Killed):
        apply(world)
    assert world.store.pending == 2 and world.timer.armed()
    world.clock.on_sleep = lambda: None
    outcome = world.trials.revert(2)
    assert outcome is not None and outcome.result is (Result.REVERTED if worse else Result.KEPT)
    assert world.file.read_bytes() == (OLD if worse else NEW)


def test_two_at_once_the_second_is_told_of_the_first(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    with pytest.raises(BusyError, match="version 2 of ann is still on trial"):
        apply(world, volume(7))
    assert world.file.read_bytes() == NEW
    with world.store.hold("bob from 192.0.2.9"), pytest.raises(BusyError, match=r"by bob from 192\.0\.2\.9"):
        apply(world, volume(7))


def test_a_change_made_from_what_no_longer_counts_is_refused(world: World) -> None:
    with pytest.raises(BusyError, match="changed by somebody else"):
        world.changer.apply(NEW.decode(), "set", Terms(), OLD + b"# seen before\n")
    assert world.file.read_bytes() == OLD and world.store.numbers() == []


def test_wrong_settings_change_nothing(world: World) -> None:
    with pytest.raises(SettingsError, match="from 0 to 100"):
        apply(world, volume(400))
    assert world.store.numbers() == [] and world.kiosk.reloads == []


def test_the_same_settings_are_no_change(world: World) -> None:
    assert apply(world, OLD) == Outcome(Result.UNCHANGED)
    assert world.store.numbers() == []


def test_what_the_machine_cannot_do_is_refused_unless_it_is_wanted(world: World) -> None:
    missing = OLD + b'audio: {speaker: "plughw:CARD=NoSuchCard"}\n'
    with pytest.raises(ChangeError, match=r"audio\.speaker: there is no sound card NoSuchCard"):
        apply(world, missing)
    assert world.file.read_bytes() == OLD
    assert apply(world, missing, Terms(anyway=True)).result is Result.KEPT
    # Unplugged later, it is no reason to refuse another change.
    assert apply(world, missing.replace(b"}", b", volume: 3}")).result is Result.KEPT


def test_the_endpoint_is_tried_first_where_that_is_wanted(world: World) -> None:
    world.changer.probe = lambda settings: ["here: no way"]
    with pytest.raises(ChangeError, match="here: no way"):
        apply(world, terms=Terms(probe=True))
    world.changer.probe = lambda settings: []
    world.kiosk.judged = lambda text: Health("degraded", frozenset({"link"}), pid=7)
    world.kiosk.take()
    assert apply(world, terms=Terms(probe=True)).result is Result.REVERTED  # as bad as before, but that isn't enough


def test_without_a_kiosk_it_is_tried_at_the_next_start(world: World) -> None:
    world.kiosk.runs, world.kiosk.state = False, "inactive"
    assert apply(world).result is Result.UNTRIED
    assert world.file.read_bytes() == NEW and world.store.pending == 2 and not world.timer.armed()
    # A second change of that kind goes back to where the first one came from.
    assert apply(world, volume(7)).result is Result.UNTRIED
    assert world.store.about(3).base == 1 and world.store.outcome(2)[0] == "replaced"
    assert settle(world.trials)[0] is Start.TRY and world.timer.armed()
    assert settle(world.trials)[0] is Start.REVERT and world.file.read_bytes() == OLD


def test_a_disk_that_says_no_leaves_no_trial_behind(world: World) -> None:
    class Full(type(world.store._disk)):  # type: ignore[misc]
        def rename(self, old: Path, new: Path) -> None:
            if new == world.file:
                raise OSError(30, "Read-only file system", str(new))
            super().rename(old, new)

    world.store._disk = Full()
    with pytest.raises(WriteError, match="read-only; see README"):
        apply(world)
    assert world.store.pending is None and not world.timer.armed() and world.file.read_bytes() == OLD
    assert world.store.outcome(2)[0] == "dropped"


def test_a_full_disk_that_cannot_take_the_history_keeps_nothing_from_going_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(type(world.store._disk)):  # type: ignore[misc]
        def write(self, path: Path, *arguments: object, **named: object) -> None:
            if "outcome" in path.name:
                raise OSError(28, "No space left on device", str(path))
            super().write(path, *arguments, **named)

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    def fill() -> None:
        world.store._disk = Full()
        monkeypatch.setattr("kioskd.config.lock.os.pwrite", full)

    world.kiosk.judged = lambda text: WORSE if "volume" in text else HEALTHY
    world.clock.on_sleep = fill
    assert apply(world).result is Result.REVERTED
    assert world.file.read_bytes() == OLD and world.store.pending is None
    assert world.kiosk.now.level == "healthy"


def test_the_kiosk_is_told_before_a_trial_s_mark_goes(world: World) -> None:
    """Who dies of something in between leaves a trial that the next one ends, not a kiosk on bad settings."""
    told: list[int] = []

    class Dying(type(world.store._disk)):  # type: ignore[misc]
        def remove(self, path: Path) -> None:
            if path.name == "pending":
                told.append(len(world.kiosk.reloads))
                raise KeyboardInterrupt
            super().remove(path)

    apply(world, terms=Terms(confirm=True))
    world.store._disk = Dying()
    with pytest.raises(KeyboardInterrupt):
        world.trials.revert(2)
    assert told == [2] and world.kiosk.reloads[-1] == OLD.decode() and world.store.pending == 2
    world.store._disk = type(world.store._disk).__base__()
    outcome = world.trials.revert(2)
    assert outcome is not None and outcome.result is Result.REVERTED and world.file.read_bytes() == OLD


def test_the_timer_ends_what_a_dead_keeper_had_kept_already(world: World) -> None:
    class Dying(type(world.store._disk)):  # type: ignore[misc]
        def remove(self, path: Path) -> None:
            if path.name == "pending":
                raise KeyboardInterrupt
            super().remove(path)

    apply(world, terms=Terms(confirm=True))
    world.store._disk = Dying()
    with pytest.raises(KeyboardInterrupt):
        world.trials.confirm()
    world.store._disk = type(world.store._disk).__base__()
    assert (world.store.current, world.store.pending) == (2, 2)
    outcome = world.trials.revert(2)
    assert outcome is not None and outcome.result is Result.KEPT
    assert world.file.read_bytes() == NEW and world.store.pending is None
