"""The fleet's files: secrets are never shown, the example's settings are settings, Ansible has nothing against them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kioskd.config.load import parse

FLEET = Path(__file__).parents[2] / "scripts" / "fleet"
ROLE = FLEET / "roles" / "kioskd"
PLAYBOOKS = ("apply.yml", "upgrade.yml", "doctor.yml")

needs_ansible = pytest.mark.skipif(
    shutil.which("ansible-lint") is None, reason="this machine has no ansible-lint (pip install kioskd[fleet])"
)


def tasks(found: Any) -> Iterator[dict[str, Any]]:
    """Those of a file, also inside of blocks."""
    for task in found:
        yield task
        yield from tasks(task.get("block", []))


def all_tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((ROLE / "tasks").glob("*.yml")):
        for task in tasks(yaml.safe_load(file.read_text())):
            yield f"{file.name}: {task['name']}", task


def merged(old: Any, new: Any) -> Any:
    """As the role does it: a mapping goes into a mapping, all else replaces."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merged(old.get(key), value) for key, value in new.items()}
    return new


def inventory(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FLEET / "inventory" / name).read_text())
    return found


def test_what_knows_a_secret_shows_nothing() -> None:
    knowing = {name: task for name, task in all_tasks() if "secrets[" in str(task) or "fingerprint" in str(task)}
    assert len(knowing) >= 2
    assert [name for name, task in knowing.items() if task.get("no_log") is not True] == []
    assert any("stdin" in str(task) for task in knowing.values())


def test_a_task_that_asks_kioskd_says_whether_it_changes_anything() -> None:
    asking = {name: task for name, task in all_tasks() if "ansible.builtin.command" in task}
    assert len(asking) >= 8
    assert [name for name, task in asking.items() if "changed_when" not in task] == []


@pytest.mark.parametrize("playbook", ["apply.yml", "upgrade.yml"])
def test_a_rollout_begins_with_the_canary_and_ends_with_the_first_that_fails(playbook: str) -> None:
    (play,) = yaml.safe_load((FLEET / playbook).read_text())
    assert play["hosts"].startswith("canary:")
    assert (play["any_errors_fatal"], play["max_fail_percentage"]) == (True, 0)
    assert "[1, " in play["serial"]


def test_the_examples_settings_are_settings() -> None:
    everyone = inventory("group_vars/all/kioskd.yml")["kioskd_settings"]
    sites = inventory("kiosks.yml")["kiosks"]["children"]
    seen = set()
    for site, hosts in sites.items():
        at_site = inventory(f"group_vars/{site}.yml")["kioskd_site_settings"]
        for host in hosts["hosts"]:
            file = FLEET / f"inventory/host_vars/{host}.yml"
            own = yaml.safe_load(file.read_text())["kioskd_host_settings"] if file.exists() else {}
            settings = parse(json.dumps(merged(merged(everyone, at_site), own)), host)
            seen.add((settings.audio.volume, settings.audio.microphone, settings.audio.night is None))
    assert len(seen) == 3  # the museum's foyer, its cellar, the station


def test_prometheus_names_the_rules() -> None:
    (rules,) = yaml.safe_load((FLEET / "prometheus.yml").read_text())["rule_files"]
    assert (FLEET / rules).exists()


@pytest.mark.long
@needs_ansible
def test_ansible_has_nothing_against_it(tmp_path: Path) -> None:
    copy = shutil.copytree(FLEET, tmp_path / "fleet")  # it writes beside what it reads
    environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_CONFIG": str(copy / "ansible.cfg")}
    for command in (
        *(["ansible-playbook", "--syntax-check", playbook] for playbook in PLAYBOOKS),
        ["ansible-lint", "--offline", "--profile", "production"],
    ):
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
