"""A whole virtual Pi: QEMU without KVM, a Debian kernel with real ALSA, a GPIO chip, a hardware watchdog."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from lab import images
from lab.shell import LabError, run, say
from lab.stage import Stage, check_alive, end, furnish, prepared, workplace

MEMORY_MB = 1024
FREEZE_S = 120  # some 500 MB to write
BOOT_S = 120  # 14 s where nothing else runs
QEMUS_NAME_OF_THIS_MACHINE = "10.0.2.2"

# snd-aloop: what is played on one end is captured on the other. Substream 0 is the kiosk's speaker, 1 its microphone.
SOUND = {
    "/etc/asound.conf": """\
pcm.ear { type plug slave.pcm "hw:CARD=Loopback,DEV=1,SUBDEV=0" }
pcm.room { type plug slave.pcm "hw:CARD=Loopback,DEV=0,SUBDEV=1" }
""",
    "/etc/systemd/system/lab-room.service": """\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=python3 -I -S /lab/inside.py room room
Restart=always
RestartSec=1
Nice=-10
""",
    # The unit has a /proc of its own, without what board.sh put there.
    "/etc/systemd/system/kioskd.service.d/lab.conf": """\
[Service]
BindReadOnlyPaths=/run/cpuinfo:/proc/cpuinfo
""",
}


@define(eq=False)
class Pi:
    """The machine's power switch."""

    stage: Stage
    disk: Path
    _command: list[str]
    _log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def boot(self) -> float:
        """Switch on; the seconds until ssh answers."""
        say("pi: booting")
        with self._log.open("ab") as console:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        seconds = self.stage.machine.wait_for_ssh(BOOT_S)
        check_alive(self._process, self._log)
        return seconds

    def pull_the_plug(self) -> None:
        """What it had not written yet is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self, memory: Path) -> None:
        """Switch off, with what it has in mind kept in a file: `thaw` goes on from there, with the disk of now."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(FREEZE_S)
            monitor.connect(str(self.disk.with_name("monitor")))
            _told(monitor, "")
            _told(monitor, "migrate_set_parameter max-bandwidth 8g\n")
            _told(monitor, f'migrate "exec:cat >{memory}"\n')
            said = _told(monitor, "info migrate\n")
        if "completed" not in said:
            raise LabError(f"the machine's memory can't be kept: {said}")
        self.pull_the_plug()

    def thaw(self, memory: Path) -> None:
        """Go on."""
        with self._log.open("ab") as console:
            command = [*self._command, "-incoming", f"exec:cat {memory}"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.stage.machine.wait_for_ssh(BOOT_S)
        check_alive(self._process, self._log)

    def off(self) -> None:
        """At the end."""
        if self._process is not None:
            end(self._process)


def _told(monitor: socket.socket, command: str) -> str:
    """What QEMU's monitor says to a command."""
    monitor.sendall(command.encode())
    said = b""
    while not said.endswith(b"(qemu) "):
        received = monitor.recv(65536)
        if not received:
            raise LabError(f"QEMU's monitor has ended: {said!r}")
        said += received
    return said.decode(errors="replace")


@contextmanager
def booted(out: Path) -> Iterator[tuple[Stage, Pi]]:
    """A running machine, without kioskd and without a sound card: `modprobe snd-aloop` plugs it in."""
    kernel, disk = images.kernel(), images.pi_disk()
    with (
        workplace("pi") as folder,
        prepared("pi", images.KERNEL_SUITE, folder, out, QEMUS_NAME_OF_THIS_MACHINE) as (stage, bundle),
    ):
        own = folder / "disk.img"
        run(["cp", "--sparse=always", "--reflink=auto", str(disk), str(own)], timeout=120)
        # As a disk: a tar file is one without a file system.
        run(["tar", "-cf", str(folder / "bundle.tar"), "-C", str(bundle), "."], timeout=120)
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MB)]
        command += ["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
        command += ["-kernel", str(kernel / "vmlinuz"), "-initrd", str(kernel / "initrd.img")]
        command += ["-append", "console=ttyS0 quiet net.ifnames=0 panic=-1 mitigations=off systemd.show_status=no"]
        command += ["-drive", f"file={own},format=raw,if=virtio,cache=unsafe"]
        command += ["-drive", f"file={folder / 'bundle.tar'},format=raw,if=virtio,readonly=on"]
        command += ["-monitor", f"unix:{folder / 'monitor'},server=on,wait=off"]
        forward = f"hostfwd=tcp:127.0.0.1:{stage.machine.port}-:22"
        command += [
            "-netdev",
            f"user,id=n,{forward}",
            "-device",
            "virtio-net-pci,netdev=n",
            "-device",
            "virtio-rng-pci",
        ]
        pi = Pi(stage, own, command, out / "console.log")
        try:
            stage.facts["ssh_s"] = round(pi.boot(), 1)
            furnish(stage, SOUND)
            stage.machine.run("systemctl -q enable lab-room")
            yield stage, pi
        finally:
            pi.off()


def plug_in(stage: Stage) -> None:
    """The sound card."""
    stage.machine.run("modprobe snd-aloop && systemctl restart lab-room", timeout=60)
