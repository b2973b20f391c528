"""The verdict: what counts as met, and how it is told."""

from __future__ import annotations

import json

import pytest

from kioskd.bench import targets
from kioskd.bench.__main__ import parse
from kioskd.bench.report import as_json, as_text
from kioskd.bench.rows import NAMES
from kioskd.bench.targets import Row, percentile

COSTS = {"kiosk": [7.0, 1.0, 2.0], "floor": [1.2, 1.2, 9.0], "openai SDK": [6.0, 6.0, 6.0], "websockets": [2.0]}


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 99) == 99 and percentile(values, 100) == 100 and percentile(values, 50) == 50
    assert percentile([3.0, 1.0, 2.0], 99) == 3 and percentile([5.0], 1) == 5
    with pytest.raises(ValueError, match="no values"):
        percentile([], 99)


def test_a_conversation_is_judged_by_the_medians_of_all() -> None:
    row = targets.conversation("talking", COSTS)
    assert row.figure == 2.0 and row.compared == {"floor": 1.2, "openai SDK": 6.0, "websockets": 2.0}
    assert [(bound.text, round(bound.value, 3)) for bound in row.bounds] == [
        ("ms/s", 2.0),
        ("x floor", 1.667),
        ("x openai SDK", 0.333),
    ]
    assert row.met is True


@pytest.mark.parametrize(
    ("kind", "values"), [("floor", [1.1, 1.1, 1.1]), ("openai SDK", [5.6, 5.6, 5.6]), ("kiosk", [9.1, 9.1, 9.1])]
)
def test_one_condition_that_fails_is_enough(kind: str, values: list[float]) -> None:
    assert targets.conversation("talking", {**COSTS, kind: values}).met is False


def test_a_limit_that_is_just_reached_is_met() -> None:
    assert targets.delay("barge-in", [5.0] * 99 + [20.0]).met is True
    assert targets.delay("barge-in", [5.0] * 98 + [20.1] * 2).met is False
    assert targets.delay("barge-in", [5.1] * 100).met is False
    assert targets.gaps(0, 8).met is True
    assert targets.gaps(1, 8).met is False
    assert targets.reconnect([1000.2], 0.2).met is True
    assert targets.reconnect([1000.3], 0.2).met is False


def test_an_hour_has_to_end_flat_and_near_its_beginning() -> None:
    settled = [40.0, *[40.9] * 60]
    assert targets.hour_of_talk(settled, 300).met is True
    assert targets.hour_of_talk([40.0, *[41.1] * 60], 300).met is False
    creeping = [40.0 + minute * 0.015 for minute in range(61)]
    assert creeping[-1] - creeping[0] < 1.0
    assert targets.hour_of_talk(creeping, 300).met is False


def test_what_is_only_told_is_met_without_conditions() -> None:
    row = targets.conversation("answering (wire alone)", COSTS, judged=False)
    assert row.bounds == () and row.met is True


def test_what_was_not_measured_is_neither_met_nor_unmet() -> None:
    row = targets.missing("press", "there is no sound card")
    assert row.met is None
    text = as_text([row])
    assert "not measured" in text and "there is no sound card" in text and "unmet" not in text


def test_the_table_names_what_is_unmet_and_each_condition() -> None:
    rows = [targets.gaps(2, 8), targets.conversation("talking", COSTS)]
    text = as_text(rows)
    assert text.splitlines()[-1] == "unmet: gaps"
    line = next(line for line in text.splitlines() if line.startswith("gaps"))
    assert line.endswith("NO") and "2.00 gaps (at most 0)" in line
    assert "1.67 x floor (at most 1.8)" in text and "websockets 2.00" in text


def test_json_has_figure_comparison_ratio_target_and_verdict() -> None:
    talking, absent = json.loads(as_json([targets.conversation("talking", COSTS), targets.missing("gaps", "why")]))
    assert talking["figure"] == 2.0 and talking["compared"]["floor"] == 1.2
    assert talking["ratios"]["floor"] == pytest.approx(1.6667)
    assert talking["targets"][1] == {"text": "x floor", "value": 1.6667, "at_most": 1.8, "met": True}
    assert talking["met"] is True and talking["note"] == ""
    assert absent["figure"] is None and absent["met"] is None and absent["note"] == "why"


def test_every_row_can_be_chosen_and_no_other() -> None:
    assert parse([]).rows == set(NAMES) and len(NAMES) == 13
    assert parse(["--rows", "press,gaps"]).rows == {"press", "gaps"}
    for wrong in (["--rows", "pres"], ["--rounds", "0"]):
        with pytest.raises(SystemExit) as exit_:
            parse(wrong)
        assert exit_.value.code == 2


def test_a_row_without_conditions_can_still_be_printed() -> None:
    assert "a thing" in as_text([Row("x", "a thing", "ms", 1.0)])
