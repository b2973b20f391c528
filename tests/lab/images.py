"""What the machines are made of: Debian roots, wheels, a kernel. Built once, kept by the hash of their inputs."""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.shell import LabError, run, say

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
DEBIAN = {"bookworm": 12, "trixie": 13}
MIRROR = os.environ.get("KIOSKD_LAB_MIRROR", "http://deb.debian.org")

# What a machine has before kioskd comes: systemd, sound, and what the lab itself uses to look at it.
MACHINE_PACKAGES = [
    *("systemd-sysv", "dbus", "udev", "kmod", "procps", "iproute2", "openssh-server", "sudo", "ca-certificates"),
    *("python3", "python3-venv", "espeak-ng"),
    *("libasound2-plugins", "alsa-utils", "pulseaudio", "pulseaudio-utils"),
]
BUILD_PACKAGES = [
    *("ca-certificates", "python3-venv", "python3-dev"),
    *("gcc", "libc6-dev", "make", "swig", "libasound2-dev"),
]
KERNEL_PACKAGES = ["linux-headers-amd64", "linux-source-6.1", "xz-utils", "kmod"]
KERNEL_SUITE = "bookworm"  # its linux-source holds the gpio-sim.c that is built here

# The modules of the virtual Pi, without those that they need.
MODULES = [
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4", "crc32c_generic", "overlay", "autofs4"),
    *("configfs", "snd-aloop", "snd-dummy", "softdog", "sch_netem"),
]
PI_IMAGE_MB = 2048
EXTRAS = ("local", "http", "tools", "watch", "metrics")
MAKE_WHEELS = '''set -e
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
export PYPI=1  # lgpio, which has no wheel for 3.13, then builds its library too
rm -rf /tmp/v && python3 -m venv /tmp/v
/tmp/v/bin/pip install setuptools wheel
exec /tmp/v/bin/pip wheel -w /wheels "$@"'''
PATIENCE_S = 900.0  # for a download and a build on a slow line


def cache() -> Path:
    """The folder of everything built."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "kioskd-lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept(kind: str, inputs: Sequence[str], build: Callable[[Path], None]) -> Path:
    """The folder `kind` of these inputs, from the cache or by `build(folder)`. Older ones of its kind are removed."""
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
    folder = cache() / f"{kind}-{key}"
    with _locked(kind):
        if folder.exists():
            return folder
        for old in cache().glob(f"{kind}-*"):
            remove(old)
        say(f"building {kind}")
        unfinished = cache() / f"{kind}-{key}.unfinished"
        unfinished.mkdir()
        try:
            build(unfinished)
        except BaseException:
            remove(unfinished)
            raise
        unfinished.rename(folder)
    return folder


def remove(folder: Path) -> None:
    """A folder or a file, with all that is in it."""
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def machine_root(suite: str) -> Path:
    """A Debian machine that can be booted, without kioskd."""

    def build(folder: Path) -> None:
        debian(suite, folder, MACHINE_PACKAGES)
        (folder / "etc/fstab").write_text("")  # one that names / would have nspawn remount the host's own root
        (folder / "etc/hosts").write_text("127.0.0.1 localhost kiosk\n")
        (folder / "etc/hostname").write_text("kiosk\n")
        enter(folder, "systemctl", "disable", "ssh.service", "ssh.socket", check=False)
        enter(folder, "sh", "-c", "systemctl mask systemd-networkd-wait-online getty@tty1 apt-daily.timer; pwconv")
        for key in (folder / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        units = sorted((HERE / "units").iterdir())
        for unit in units:
            shutil.copy(unit, folder / "etc/systemd/system" / unit.name)
        enter(folder, "systemctl", "enable", *(unit.name for unit in units))

    sources = [_source(machine_root), _source(debian), tree_hash(HERE / "units")]
    return kept(f"root-{suite}", [suite, MIRROR, *MACHINE_PACKAGES, *sources], build)


@contextmanager
def root_of_its_own(suite: str) -> Iterator[Path]:
    """The same, for a second machine at once: one folder can't be booted twice. Takes no room: all files are links."""
    original = machine_root(suite)
    with tempfile.TemporaryDirectory(prefix="machine-", dir=cache()) as folder:
        root = Path(folder) / "root"
        run(["cp", "-al", str(original), str(root)], timeout=120)
        yield root


def workshop(suite: str) -> Path:
    """A Debian root with compilers, where wheels and kernel modules are made."""
    packages = [*BUILD_PACKAGES, *(KERNEL_PACKAGES if suite == KERNEL_SUITE else ())]
    inputs = [suite, MIRROR, *packages, _source(debian)]
    return kept(f"workshop-{suite}", inputs, lambda folder: debian(suite, folder, packages))


def debian(suite: str, folder: Path, packages: Sequence[str]) -> None:
    """A minimal Debian with these packages, today's security updates included."""
    sources = [f"deb {MIRROR}/debian {name} main" for name in (suite, f"{suite}-updates")]
    sources.append(f"deb {MIRROR}/debian-security {suite}-security main")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", '--aptopt=Acquire::Languages "none"', "--mode=root"]
    command += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*"]
    # The shipped keyring of Debian's own root signs both suites; a host that isn't Debian may lack it.
    run([*command, f"--include={','.join(packages)}", suite, str(folder), *sources], timeout=PATIENCE_S)


def enter(root: Path, *command: str, check: bool = True, binds: Sequence[str] = ()) -> str:
    """Run something inside a root, with this machine's network, proxies and certificates. Returns what it printed."""
    nspawn = ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "--pipe"]
    nspawn += ["--resolv-conf=bind-host", "--link-journal=no", *(f"--bind={bind}" for bind in binds)]
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy"):
            nspawn.append(f"--setenv={name}={value}")
    return run([*nspawn, *command], timeout=PATIENCE_S, check=check)


def requirements() -> list[str]:
    """What kioskd needs of PyPI, with the extras that the installer asks for."""
    parser = configparser.ConfigParser()
    parser.read(PROJECT / "setup.cfg")
    extras = parser["options.extras_require"]
    return " ".join([parser["options"]["install_requires"], *(extras.get(name, "") for name in EXTRAS)]).split()


def dependency_wheels(suite: str) -> Path:
    """Wheels of all that kioskd needs, for that Debian's own Python."""

    def build(folder: Path) -> None:
        binds = [f"{folder}:/wheels", *_pip_configuration()]
        # setuptools and wheel: an installer may build kioskd from its source without a network.
        names = [*requirements(), "pip", "setuptools>=64", "wheel"]
        enter(workshop(suite), "sh", "-c", MAKE_WHEELS, "sh", *names, binds=binds)

    return kept(f"wheels-{suite}", [suite, *requirements(), MAKE_WHEELS, _source(dependency_wheels)], build)


def _pip_configuration() -> list[str]:
    """This machine's way to PyPI, for use inside a root: its pip.conf, its certificates, its folders of packages."""
    binds = []
    for name in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(name).exists():
            binds.append(f"{name}:{name}")
    listed = run([sys.executable, "-m", "pip", "config", "list"], timeout=60)
    for word in listed.replace("'", " ").replace("file://", " ").split():
        path = Path(word)
        if word.startswith("/") and path.is_dir():
            binds.append(f"{path}:{path}")
    return binds


@contextmanager
def wheelhouse(suite: str) -> Iterator[Path]:
    """A folder with everything for an installation without a network, kioskd as it is in this checkout included."""
    with tempfile.TemporaryDirectory(prefix="kioskd-wheels-") as name:
        folder = Path(name)
        for wheel in dependency_wheels(suite).iterdir():
            (folder / wheel.name).hardlink_to(wheel) if _same_disk(wheel, folder) else shutil.copy(wheel, folder)
        shutil.copy(own_wheel(), folder)
        yield folder


def own_wheel() -> Path:
    """kioskd's own wheel."""

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="kioskd-source-") as name:
            source = copy_of_project(Path(name) / "kioskd")
            pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
            run([*pip, "-w", str(folder), str(source)], timeout=PATIENCE_S)

    folder = kept("kioskd", [tree_hash(PROJECT / name) for name in SOURCES], build)
    return next(folder.glob("*.whl"))


SOURCES = ("kioskd", "config", "systemd", "scripts", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def copy_of_project(target: Path) -> Path:
    """What an owner unpacks to install from: the sources, without tests and without what was built here."""
    target.mkdir(parents=True)
    for name in SOURCES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target / name)
    return target


def tree_hash(path: Path) -> str:
    """A hash of a file's content, or of all files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(PROJECT)}\0{file.stat().st_mode & 0o111}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def kernel() -> Path:
    """A folder with vmlinuz, initrd.img and modules/ (as /lib/modules wants it), gpio-sim among them."""

    def build(folder: Path) -> None:
        shop = workshop(KERNEL_SUITE)
        shutil.copy(HERE / "kernel.sh", folder / "kernel.sh")
        enter(shop, "bash", "/build/kernel.sh", " ".join(MODULES), binds=[f"{folder}:/build"])
        initrd(folder)

    return kept("kernel", [*MODULES, (HERE / "kernel.sh").read_text(), _source(kernel), _source(initrd)], build)


def initrd(folder: Path) -> None:
    """A first root of busybox that loads what the disk needs, and goes on there."""
    root = folder / "initrd"
    for name in ("bin", "proc", "sys", "dev", "new"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError("there is no busybox; install busybox-static")
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copytree(folder / "early", root / "early")
    (root / "init").write_text((HERE / "init.sh").read_text())
    (root / "init").chmod(0o755)
    script = "find . | cpio -o -H newc --quiet | gzip -1 > ../initrd.img"
    run(["sh", "-c", f"cd {root} && {script}"], timeout=60)
    remove(root)


def pi_disk() -> Path:
    """The disk of the virtual Pi: Debian 12 with the kernel's modules, as an ext4 image."""
    root, modules = machine_root(KERNEL_SUITE), kernel()

    def build(folder: Path) -> None:
        copy = folder / "root"
        run(["cp", "-a", "--reflink=auto", str(root), str(copy)], timeout=PATIENCE_S)
        shutil.copytree(modules / "modules", copy / "lib/modules", symlinks=True)
        run(["mke2fs", "-q", "-t", "ext4", "-d", str(copy), str(folder / "disk.img"), f"{PI_IMAGE_MB}M"], timeout=300)
        remove(copy)

    return kept("pi", [root.name, modules.name, _source(pi_disk), str(PI_IMAGE_MB)], build) / "disk.img"


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _source(function: Callable[..., object]) -> str:
    """A function's own text is one of the inputs of what it builds."""
    import inspect

    return inspect.getsource(function)


@contextmanager
def _locked(kind: str) -> Iterator[None]:
    """One builder of a kind at a time."""
    with (cache() / f".{kind}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def need_root() -> None:
    """Raises LabError where this process can't make machines."""
    if os.geteuid() != 0:
        raise LabError("the lab makes whole machines and needs root: sudo scripts/lab")


def need_tools(*names: str) -> None:
    """Raises LabError where one of these programs is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise LabError(f"missing: {' '.join(missing)}; scripts/lab installs them")


def clean_mounts(folder: Path) -> None:
    """Nothing of a machine that ended badly stays mounted."""
    subprocess.run(["umount", "-q", "-R", str(folder)], check=False, capture_output=True)
