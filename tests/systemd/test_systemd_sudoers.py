"""The settings key: its rule, as sudo itself reads it, and its line in authorized_keys."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULE = ROOT / "systemd/sudoers.d/kioskd-admin"
FORCED = 'restrict,command="/opt/kioskd/bin/kioskd config-shell" '

needs_sudo = pytest.mark.skipif(shutil.which("visudo") is None, reason="this machine has no sudo")

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="this machine has no ssh")


@needs_sudo
def test_sudo_understands_it() -> None:
    done = subprocess.run(["visudo", "-csf", RULE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_lets_one_command_through_without_a_pattern() -> None:
    lines = [line for line in RULE.read_text().splitlines() if not line.startswith(("#", "Defaults"))]
    assert lines == ["kioskd-admin ALL = (root:root) NOPASSWD: NOSETENV: /opt/kioskd/bin/kioskd config-verb"]
    assert not set("*?[]!") & set(lines[0])


@pytest.fixture
def public(tmp_path: Path) -> str:
    """A public key, as its owner has it in a file."""
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann@laptop", "-f", key], check=True)
    return key.with_suffix(".pub").read_text()


def lines_of(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What scripts/install makes of a file of keys."""
    file = folder / "keys"
    file.write_text(text)
    command = ". scripts/prepare.sh; . scripts/install-key.sh; settings_key_file=$1; forced_lines <$1"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command, "install", file],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


@needs_ssh
def test_each_key_is_bound_to_the_one_command(tmp_path: Path, public: str) -> None:
    done = lines_of(tmp_path, f"# the owners\n{public}\n{public.strip()}\r\n{public.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [FORCED + public.strip()] * 3
    assert lines_of(tmp_path, "").stdout == ""


@needs_ssh
@pytest.mark.parametrize(
    "wrong",
    [
        'command="sh" {key}', "no-pty {key}", "{type} AAAA", "{type} {type}", "{body}", "{type}\t{body}", "-x {key}",
        "{type} {body}\x0bx", "-----BEGIN OPENSSH PRIVATE KEY-----", 'cert-authority {key}', '"{key}',
        "{key}\n{type} x",
        "ssh-dss {body}", "{type}-cert-v01@openssh.com {body}",
    ],
)  # fmt: skip
def test_what_is_no_plain_public_key_is_refused(tmp_path: Path, public: str, wrong: str) -> None:
    kind, body, _ = public.split(maxsplit=2)
    done = lines_of(tmp_path, wrong.format(key=public.strip(), type=kind, body=body))
    assert done.returncode == 1 and "no public key" in done.stderr, done.stdout
