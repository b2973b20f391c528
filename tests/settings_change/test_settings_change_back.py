"""Back to a version, by whoever wants it, by hand, or before a start; on a kiosk of the test's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from change_parts import HEALTHY, NEW, OLD, WORSE, World, apply, make, volume

from kioskd.config.disk import WriteError
from kioskd.config.lock import BusyError
from kioskd.config.trial import Start
from kioskd.settings_change.change import Terms
from kioskd.settings_change.settling import settle
from kioskd.settings_change.trials import ChangeError, Result


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make(tmp_path)


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


def test_failed_changes_push_nothing_out_that_may_be_gone_back_to(world: World) -> None:
    apply(world, volume(40))
    apply(world, volume(50))
    world.kiosk.judged = lambda text: WORSE if "volume: 2}" in text else HEALTHY
    for _ in range(25):
        assert apply(world, volume(2)).result is Result.REVERTED
    assert world.store.numbers()[:4] == [1, 2, 3, 9]  # the last three that were kept, and the last twenty
    assert apply(world, volume(60)).result is Result.KEPT
    assert world.changer.rollback(None, Terms()).result is Result.KEPT and world.file.read_bytes() == volume(50)


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's files are for root alone")
@pytest.mark.parametrize(("mode", "after"), [(0o600, 0o644), (0o640, 0o644), (0o644, 0o644), (0o604, 0o604)])
def test_a_file_for_root_alone_does_not_keep_the_daemon_from_starting(world: World, mode: int, after: int) -> None:
    apply(world)
    world.file.chmod(mode)
    step, words = settle(world.trials)
    assert step is Start.GO and ("was for root alone" in words) is (mode != after)
    assert stat.S_IMODE(world.file.stat().st_mode) == after


def test_an_edit_by_hand_that_the_daemon_may_not_read_does_not_keep_it_from_starting(world: World) -> None:
    settle(world.trials)
    world.file.write_bytes(NEW)
    world.kiosk.trouble = "extra_ca may not be read"
    step, words = settle(world.trials)
    assert step is Start.RESTORE and "extra_ca may not be read" in words and world.file.read_bytes() == OLD
    assert world.store.content(2) == NEW and world.store.outcome(2) == ("refused", "extra_ca may not be read")
    assert world.store.current == 1 and settle(world.trials)[0] is Start.GO


def test_what_the_daemon_may_not_read_is_left_where_nothing_counted_yet(world: World) -> None:
    world.kiosk.trouble = "extra_ca may not be read"
    assert settle(world.trials)[0] is Start.LEAVE and world.store.current is None


def test_an_edit_by_hand_during_a_trial_is_not_overwritten(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    world.file.write_bytes(volume(50))
    world.trials.revert(2)
    assert world.file.read_bytes() == volume(50)


@pytest.mark.parametrize("broken", [b"endpoints: [\n", None])
def test_a_change_that_mends_a_broken_file_goes_back_to_what_counted_last(world: World, broken: bytes | None) -> None:
    settle(world.trials)
    world.file.unlink() if broken is None else world.file.write_bytes(broken)
    world.kiosk.judged = lambda text: WORSE if "volume" in text else HEALTHY
    outcome = apply(world)
    assert (outcome.result, outcome.changed) == (Result.REVERTED, ("audio.volume",))
    assert world.file.read_bytes() == OLD and world.kiosk.now.level == "healthy"
    refused = [number for number in world.store.numbers() if world.store.outcome(number)[0] == "refused"]
    assert [world.store.content(number) for number in refused] == ([] if broken is None else [broken])


@pytest.mark.parametrize("known", [True, False])
def test_where_the_old_settings_cannot_be_read_the_machine_is_still_asked(world: World, known: bool) -> None:
    if known:
        settle(world.trials)
    world.file.write_bytes(b"endpoints: [\n")
    with pytest.raises(ChangeError, match="there is no sound card NoSuchCard"):
        apply(world, OLD + b'audio: {speaker: "plughw:CARD=NoSuchCard"}\n')


def test_the_machine_is_asked_about_more_keys_than_have_a_name_in_the_history(world: World) -> None:
    more = b"".join(
        f'  - name: e{number}\n    url: "wss://b{number}.example/v1"\n    model: m\n'.encode() for number in range(5)
    )
    nowhere = b'    key: {file: "/no/such/key"}\n'
    with pytest.raises(ChangeError, match=r"endpoints\[5\]\.key: .*/no/such/key"):
        apply(world, OLD + more + nowhere)


# Before a start


def test_it_may_be_tried_once_and_is_then_taken_back(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    world.timer.disarm()  # the power was cut
    assert settle(world.trials)[0] is Start.TRY and world.timer.armed()
    assert settle(world.trials)[0] is Start.REVERT
    assert world.file.read_bytes() == OLD and not world.timer.armed()
    assert settle(world.trials)[0] is Start.GO


def test_a_start_of_systemd_s_own_does_not_use_up_the_trial_s_only_one(world: World) -> None:
    """A unit that is between two starts is restarted by the change; what runs its settle until then has to wait."""
    settle(world.trials)
    world.kiosk.runs, world.kiosk.state = False, "activating"

    def reload() -> bool:
        with pytest.raises(BusyError):
            settle(world.trials)
        return True

    world.kiosk.reload = reload  # type: ignore[method-assign]
    assert apply(world, terms=Terms(confirm=True)).result is Result.ON_TRIAL
    assert settle(world.trials)[0] is Start.TRY and world.file.read_bytes() == NEW


def test_a_start_that_cannot_be_counted_has_a_timer_nonetheless(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    world.timer.disarm()  # the power was cut

    class Full(type(world.store._disk)):  # type: ignore[misc]
        def write(self, path: Path, *arguments: object, **named: object) -> None:
            raise OSError(28, "No space left on device", str(path))

    world.store._disk = Full()
    with pytest.raises(WriteError):
        settle(world.trials)
    assert world.timer.armed()


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
