"""Debian under its own systemd, in a container: boots in a second. Sound is PulseAudio's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lab import images
from lab.shell import say
from lab.stage import Stage, check_alive, end, furnish, prepared, workplace

SOUND = {
    "/etc/asound.conf": """\
pcm.spk { type pulse device spk }
pcm.mic { type pulse device mic.monitor }
pcm.ear { type pulse device spk.monitor }
pcm.room { type pulse device mic }
""",
    # norewinds: without it playback stalls for two seconds. The loopback: a microphone hears its speaker.
    # Its latency: less underruns on a busy machine; unadjusted, or it bends all sound after one. A player may hang as
    # its server goes.
    "/etc/systemd/system/lab-pulse.service": """\
[Service]
Environment=HOME=/run/lab-pulse XDG_RUNTIME_DIR=/run/lab-pulse
RuntimeDirectory=lab-pulse
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
TimeoutStopSec=2s
ExecStart=pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no --realtime=no --high-priority=no \
  "--load=module-native-protocol-unix auth-anonymous=1 socket=/run/lab-pulse/native" \
  "--load=module-null-sink sink_name=spk rate=48000 channels=1 format=s16le norewinds=1" \
  "--load=module-null-sink sink_name=mic rate=48000 channels=1 format=s16le norewinds=1" \
  "--load=module-loopback source=spk.monitor sink=mic latency_msec=80 adjust_time=0"
ExecStartPost=sh -c "until pactl -s unix:/run/lab-pulse/native info; do sleep 0.1; done"
""",
    "/etc/systemd/system/lab-room.service": """\
[Unit]
BindsTo=lab-pulse.service
After=lab-pulse.service
StartLimitIntervalSec=0
[Service]
Environment=PULSE_SERVER=unix:/run/lab-pulse/native
ExecStart=python3 -I -S /lab/inside.py room room
Restart=always
RestartSec=0.5
TimeoutStopSec=2s
""",
    # There are no pins here: gpiozero's own stand-in.
    "/etc/systemd/system/kioskd.service.d/lab.conf": """\
[Service]
Environment=PULSE_SERVER=unix:/run/lab-pulse/native GPIOZERO_PIN_FACTORY=mock
""",
}


@contextmanager
def booted(suite: str, out: Path, name: str = "") -> Iterator[Stage]:
    """A running machine with a sound server, without kioskd. One with a name of its own can run beside the others."""
    own = bool(name)
    name = name or f"nspawn-{images.DEBIAN[suite]}"
    with (
        images.root_of_its_own(suite) if own else nullcontext(images.machine_root(suite)) as root,
        workplace(name) as folder,
        prepared(name, suite, folder, out, "127.0.0.1") as (stage, bundle),
    ):
        command = ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "--console=pipe"]
        command += ["--volatile=overlay", "--resolv-conf=off", "--link-journal=no", f"--bind-ro={bundle}:/lab"]
        # Without it systemd 257 gives a unit with PrivateNetwork= no network of its own, and starts it all the same.
        command += ["--capability=CAP_NET_ADMIN"]
        command += [f"--machine=kioskd-lab-{name if own else suite}", "-b"]
        say(f"{name}: booting")
        log = out / "console.log"
        with log.open("wb") as console:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            stage.facts["ssh_s"] = round(stage.machine.wait_for_ssh(60), 1)
            furnish(stage, SOUND)
            stage.machine.run("systemctl start lab-pulse lab-room")
            yield stage
        finally:
            check = process.poll() is not None
            end(process, 30)
            images.clean_mounts(root)
            if check:
                check_alive(process, log)
