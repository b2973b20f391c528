"""The power goes at every moment of a change: the kiosk starts with the old settings or the new ones, whole."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from change_parts import NEW, OLD, World, make

from kioskd.config import versions
from kioskd.config.load import load
from kioskd.config.trial import Health, Start
from kioskd.settings_change.change import Terms
from kioskd.settings_change.settling import settle

sys.path.append(str(Path(__file__).parents[1] / "config"))

from crash_model import Model, Recording, build

pytestmark = pytest.mark.long

USUAL = Terms()
WORSE = Health("degraded", frozenset({"link"}), pid=7)
Change = Callable[[World], object]


def apply(world: World, text: bytes = NEW, terms: Terms = USUAL) -> None:
    world.changer.apply(text.decode(), "apply", terms, world.store.in_force())


def reverted(world: World) -> None:
    world.kiosk.judged = lambda text: WORSE if "volume" in text else Health("healthy", pid=7)
    apply(world)


def confirmed(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    world.trials.confirm()


def crashes_at_start(world: World) -> None:
    apply(world, terms=Terms(confirm=True))
    settle(world.trials)
    settle(world.trials)


def edited_by_hand(world: World) -> None:
    """The editor's part is over when ours begins."""
    settle(world.trials)


def every_cut(root: Path, change: Change, prepare: Change) -> list[tuple[int, dict[str, object]]]:
    """Every tree that a power cut during `change` can leave, with the number of steps until then."""
    world = make(root / "before")
    with world.trials.hold():
        pass  # the empty store
    prepare(world)
    if change is edited_by_hand:
        world.file.write_bytes(NEW)
    recording = Recording(root / "before")
    model = Model(root / "before")
    change(World(root / "before", recording))
    trees: dict[str, tuple[int, dict[str, object]]] = {}
    for number, step in enumerate([None, *recording.steps]):
        if step is not None:
            model.do(*step)
        for tree in model.cuts():
            trees.setdefault(repr(tree), (number, tree))
    assert len(recording.steps) > 5
    done = (root / "before" / "etc" / "kioskd.yaml").read_bytes()
    assert {tree["etc"]["kioskd.yaml"] for tree in model.cuts()} == {done}  # type: ignore[index]
    return list(trees.values())


def nothing(world: World) -> None:
    """A fresh installation."""


def some_history(world: World) -> None:
    for volume in (10, 20, 30):
        apply(world, OLD + f"audio: {{volume: {volume}}}\n".encode())
    apply(world, OLD)


@pytest.mark.parametrize("prepare", [nothing, some_history])
@pytest.mark.parametrize("change", [apply, reverted, confirmed, crashes_at_start, edited_by_hand])
def test_whatever_a_power_cut_leaves_is_old_or_new_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, prepare: Change
) -> None:
    monkeypatch.setattr(versions, "KEPT", 2)  # so that old versions go, too
    before = OLD if change is not edited_by_hand else NEW
    cuts = every_cut(tmp_path, change, prepare)
    seen = set()
    for number, tree in cuts:
        root = tmp_path / "after"
        build(tree, root)
        world = World(root)
        step, _ = settle(world.trials)
        counts = world.file.read_bytes()
        where = f"cut after step {number}, {step}"
        assert counts in (OLD, NEW), where
        load(world.file)
        if change is apply:
            # A new version is on trial, with its timer, until it was judged.
            judged = world.store.outcome(world.store.numbers()[-1])[0] == "kept" or world.store.pending is None
            assert step is Start.TRY and world.timer.armed() if counts == NEW and not judged else True, where
        if counts == NEW and before == OLD and step is Start.TAKE_OVER:
            pytest.fail(f"{where}: nobody has judged it, and it counts")
        seen.add(counts)
        # Life goes on: the next change does what it should, and the one after.
        world.timer.disarm()
        world.kiosk.take()
        for text in (OLD + b"audio: {volume: 77}\n", OLD + b"audio: {volume: 78}\n"):
            apply(world, text)
            assert world.file.read_bytes() == text and world.store.is_version(text, world.store.current), where
        assert not list((root / "store" / "versions").glob(".new*")), where
        shutil.rmtree(root)
    assert seen == {OLD, NEW} or change is edited_by_hand


def test_a_disk_that_keeps_nothing_back_is_found_out(tmp_path: Path) -> None:
    """The model itself: a file that is renamed without fsync may be empty after a power cut."""
    make(tmp_path / "before")
    recording, model = Recording(tmp_path / "before"), Model(tmp_path / "before")
    etc = tmp_path / "before" / "etc"
    recording.write(etc / "new", NEW)
    recording.rename(etc / "new", etc / "kioskd.yaml")
    recording.sync(etc)
    for step in recording.steps:
        model.do(*step)
    left = {tree["etc"]["kioskd.yaml"] for tree in model.cuts()}  # type: ignore[index]
    assert left == {b"", NEW[: len(NEW) // 2], NEW}
