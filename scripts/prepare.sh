# Sourced by the scripts: sets up what a fresh Debian 12/13 or Raspberry Pi OS machine lacks.
# shellcheck shell=bash

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Debian packages, those of them that are missing; with sudo where we are not root.
need_packages() {
    local missing=() package sudo=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || die "these packages are missing, and there is no apt-get: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "as root: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing Debian packages: ${missing[*]}"
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# A python of at least 3.11 that can make a venv.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# The project's own venv with the extras named; made again when setup.cfg or the python has changed.
need_venv() {
    local extras=$1 python stamp
    need_packages gcc libc6-dev libasound2-dev
    python=$(find_python) || { need_packages python3 python3-venv; python=$(find_python); } ||
        die "Python 3.11 or newer is needed, with venv"
    [ "$(readlink -f "$python")" != "$(readlink -f /usr/bin/python3)" ] || need_packages python3-dev
    # lgpio has no wheel for 3.13: built from its source, with its library inside.
    "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { need_packages swig; export PYPI=1; }
    stamp="$("$python" --version) $extras $(cat setup.cfg pyproject.toml | sha256sum)"
    if [ "$(cat .venv/.kioskd-stamp 2>/dev/null)" != "$stamp" ]; then
        say "making the venv in .venv ($("$python" --version), extras: $extras)"
        rm -rf .venv
        "$python" -m venv .venv
        .venv/bin/python -m pip install --disable-pip-version-check -e ".[$extras]"
        printf '%s' "$stamp" >.venv/.kioskd-stamp
    fi
}

SOUND_PACKAGES=(libasound2-plugins alsa-utils pulseaudio pulseaudio-utils espeak-ng)
