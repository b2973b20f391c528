"""A change from its text to its end, on a kiosk, a timer and a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from change_parts import HEALTHY, NEW, OLD, World, make

from kioskd.config.disk import WriteError
from kioskd.config.lock import BusyError
from kioskd.config.problems import SettingsError
from kioskd.config.trial import STABLE_S, Health, Start
from kioskd.settings_change.change import Terms
from kioskd.settings_change.settling import settle
from kioskd.settings_change.trials import ChangeError, Outcome, Result

USUAL = Terms()
WORSE = Health("degraded", frozenset({"fault speaker"}), ("no card",), pid=7)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make(tmp_path)


def apply(world: World, text: bytes = NEW, terms: Terms = USUAL) -> Outcome:
    return world.changer.apply(text.decode(), "apply", terms, world.store.in_force())


def volume(number: int) -> bytes:
    return OLD + f"audio: {{volume: {number}}}\n".encode()


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


def test_confirmed_it_stays(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    assert world.trials.confirm() == Outcome(Result.KEPT, 2, ("audio.volume",), "confirmed by ann")
    assert not world.timer.armed() and world.trials.revert(2) is None and world.file.read_bytes() == NEW
    with pytest.raises(ChangeError, match="nothing to be confirmed"):
        world.trials.confirm()


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


# Back


def test_back_to_the_one_before_and_to_any(world: World) -> None:
    for number in (10, 20, 30):
        apply(world, volume(number))
    assert world.changer.rollback(None, Terms()).result is Result.KEPT and world.file.read_bytes() == volume(20)
    assert world.changer.rollback(1, Terms()).result is Result.KEPT and world.file.read_bytes() == OLD
    with pytest.raises(ChangeError, match="there is no version 99"):
        world.changer.rollback(99, Terms())


def test_a_trial_is_ended_by_rolling_back(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    outcome = world.changer.rollback(None, Terms())
    assert (outcome.result, outcome.why) == (Result.REVERTED, "rolled back by ann")
    assert world.file.read_bytes() == OLD and not world.timer.armed()


def test_the_last_twenty_are_kept(world: World) -> None:
    for number in range(30):
        apply(world, volume(number))
    assert world.store.numbers() == list(range(12, 32))
    assert world.store.content(31) == volume(29)


# By hand


def test_an_edit_by_hand_becomes_a_version_of_its_own(world: World) -> None:
    apply(world)
    world.file.write_bytes(volume(50))
    assert apply(world, volume(51)).version == 4
    assert (world.store.about(3).how, world.store.about(3).changed) == ("edited by hand", ("audio.volume",))
    assert world.store.about(4).base == 3
    world.file.write_bytes(volume(52))
    step, words = settle(world.trials)
    assert step is Start.TAKE_OVER and "version 5" in words and world.store.current == 5


def test_an_edit_by_hand_that_cannot_be_read_does_not_keep_the_kiosk_from_starting(world: World) -> None:
    apply(world)
    world.file.write_bytes(b"endpoints: [\n")
    step, words = settle(world.trials)
    assert step is Start.RESTORE and "kioskd.yaml:" in words and world.file.read_bytes() == NEW
    number = world.store.numbers()[-1]
    assert world.store.content(number) == b"endpoints: [\n" and world.store.outcome(number)[0] == "refused"
    assert settle(world.trials)[0] is Start.GO


def test_an_edit_by_hand_during_a_trial_is_not_overwritten(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    world.file.write_bytes(volume(50))
    world.trials.revert(2)
    assert world.file.read_bytes() == volume(50)


# Before a start


def test_it_may_be_tried_once_and_is_then_taken_back(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    world.timer.disarm()  # the power was cut
    assert settle(world.trials)[0] is Start.TRY and world.timer.armed()
    assert settle(world.trials)[0] is Start.REVERT
    assert world.file.read_bytes() == OLD and not world.timer.armed()
    assert settle(world.trials)[0] is Start.GO


def test_a_fresh_kiosk_without_settings_is_left_alone(world: World) -> None:
    world.file.unlink()
    step, words = settle(world.trials)
    assert step is Start.LEAVE and "no such file" in words


def test_settings_elsewhere_are_written_where_the_link_points(world: World, tmp_path: Path) -> None:
    """So /etc may be read-only."""
    real = tmp_path / "var.yaml"
    world.file.rename(real)
    world.file.symlink_to(real)
    real.chmod(0o640)
    apply(world)
    assert world.file.is_symlink() and real.read_bytes() == NEW and real.stat().st_mode & 0o777 == 0o640
