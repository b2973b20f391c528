"""What root reads and the daemon, which is another user behind its unit's walls, can't."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from change_parts import OLD

from kioskd.settings_change import daemon_user
from kioskd.settings_change.kiosk import Kiosk

FILE = Path("/etc/kioskd/kioskd.yaml")
TOOL = """#!/bin/sh
printf 'User=nobody\\nProtectHome={home}\\nPrivateTmp=no\\n'
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def certificate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In a place for everybody (tmp_path is not); and a systemd that knows the service's user."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        unit(place, "yes")
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        certificate = place / "ca.pem"
        certificate.write_text("-----BEGIN CERTIFICATE-----\n")
        certificate.chmod(0o644)
        yield certificate


def unit(place: Path, home: str) -> None:
    (place / "systemctl").write_text(TOOL.format(home=home))
    (place / "systemctl").chmod(0o755)


def naming(file: Path) -> bytes:
    return OLD.rstrip(b"\n") + f"\n    extra_ca: {file}\n".encode()


def test_a_file_of_root_s_alone_is_found_out_and_root_is_root_again(certificate: Path) -> None:
    groups = os.getgroups()
    assert Kiosk().trouble_with(naming(certificate), FILE) == ""
    certificate.chmod(0o600)
    trouble = Kiosk().trouble_with(naming(certificate), FILE)
    assert f"extra_ca: {certificate} may not be read by user id 65534" in trouble
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, os.getgid(), groups)
    assert Kiosk().trouble_with(naming(certificate), Path("/home/ann/kioskd.yaml")) == ""  # not the service's


def test_what_the_unit_hides_is_found_out(certificate: Path) -> None:
    trouble = daemon_user.trouble_for_daemon(naming(Path("/home/ann/ca.pem")), FILE, "kioskd.service")
    assert trouble == (
        "endpoints[0].extra_ca: /home/ann/ca.pem is hidden from the daemon (ProtectHome= of its unit); "
        "move it to /etc/kioskd"
    )
    unit(certificate.parent, "no")
    assert "there is no such file" in daemon_user.trouble_for_daemon(naming(Path("/home/ann/ca.pem")), FILE, "k")


def test_without_such_a_user_nothing_is_known(certificate: Path) -> None:
    certificate.chmod(0o600)
    (certificate.parent / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    assert daemon_user.trouble_for_daemon(naming(certificate), FILE, "kioskd.service") == ""
