# Sourced by the scripts: sets up what a fresh Debian 12/13 or Raspberry Pi OS machine lacks.
# shellcheck shell=bash

KIOSK_PACKAGES=(libasound2-plugins alsa-utils espeak-ng)
SOUND_PACKAGES=("${KIOSK_PACKAGES[@]}" pulseaudio-utils)
BUILD_PACKAGES=(gcc libc6-dev libasound2-dev)

say() {
    local bold='' plain=''
    [ ! -t 2 ] || { bold=$'\033[1m' plain=$'\033[0m'; }
    printf '%s==>%s %s\n' "$bold" "$plain" "$*" >&2
}
die() { printf 'scripts/%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# The venv with these extras of setup.cfg, and what making it takes; further Debian packages in the same go.
need_venv() {
    local extras=$1 python packages=("${@:2}" "${BUILD_PACKAGES[@]}")
    python=$(find_python) || packages+=(python3 python3-venv)
    [ "$(readlink -f "${python:-/usr/bin/python3}")" != "$(readlink -f /usr/bin/python3)" ] || packages+=(python3-dev)
    need_packages "${packages[@]}"
    python=$(find_python) || die "Python 3.11 or newer is needed, with venv; here: $(python3 --version 2>&1)"
    # lgpio has no wheel for 3.13: built from its source, with its library inside.
    "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { need_packages swig; export PYPI=1; }
    make_venv "$python" "$extras"
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

# Debian packages, those of them that are missing.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    apt_get install "${missing[@]}"
}

# `apt-get VERB WHAT…` with sudo where we are not root. Removes nothing: what is on this machine is in use.
apt_get() {
    local sudo=() command=(apt-get "$1" --no-install-recommends --no-remove "${@:2}") by_hand
    printf -v by_hand '%q ' "${command[@]}"
    command -v apt-get >/dev/null || die "there is no apt-get here; install these by hand: ${*:2}"
    if [ "$(id -u)" -ne 0 ]; then
        { command -v sudo && sudo true; } >/dev/null || die "root is needed; let root run: $by_hand"
        sudo=(sudo)
    fi
    if [ -z "${lists_are_new-}" ]; then
        "${sudo[@]}" apt-get update -q >&2 || say "some package lists are old, see above; going on with them"
        lists_are_new=yes
    fi
    # The first start of a fresh machine upgrades itself: wait for its lock.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${command[@]}" -y -q -o DPkg::Lock::Timeout=300 >&2 ||
        die "apt-get failed, see above. Is there a network, and is /etc/apt right? By hand: $by_hand"
}

# The project's own venv in .venv; made again when its folder, setup.cfg or the python has changed.
make_venv() {
    local python=$1 extras=$2 stamp
    stamp="$(pwd -P) $("$python" --version) $extras $(cat setup.cfg pyproject.toml | sha256sum)"
    [ "$(cat .venv/.kioskd-stamp 2>/dev/null)" != "$stamp" ] || return 0
    say "making the venv in .venv ($("$python" --version), extras: $extras)"
    rm -rf .venv || die "the old .venv can't be removed, see above. Is it another user's? sudo rm -r '$PWD/.venv'"
    "$python" -m venv .venv || die "the venv can't be made, see above"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -e ".[$extras]" >&2 ||
        die "pip failed, see above. Is there a network, and PyPI on it? (.venv/bin/pip config list)"
    printf '%s' "$stamp" >.venv/.kioskd-stamp
}

# False for the venv of a checkout that was copied or moved: it would run the other one's kioskd.
venv_is_ours() { [[ "$(cat .venv/.kioskd-stamp 2>/dev/null)" == "$(pwd -P) "* ]]; }

# PulseAudio, where there is none, in the venv: as a Debian package it would displace a desktop's PipeWire.
need_pulseaudio() {
    local folder=.venv/pulseaudio depends
    ! PATH="$PWD/.venv/bin:$PATH" command -v pulseaudio >/dev/null || return 0
    say "unpacking PulseAudio into $folder"
    rm -rf "$folder" && mkdir "$folder"
    (cd "$folder" && apt-get download -q -o APT::Sandbox::User=root pulseaudio >&2) ||
        die "PulseAudio can't be downloaded, see above. Is there a network? Are the lists there (apt-get update)?"
    dpkg-deb -x "$folder"/*.deb "$folder"
    depends=$(dpkg-deb -f "$folder"/*.deb Depends)
    if apt-get satisfy -s -q --no-install-recommends "$depends" | grep '^Inst' >/dev/null; then
        say "installing the Debian packages that it needs"
        apt_get satisfy "$depends"
    fi
    cat >.venv/bin/pulseaudio <<'EOF'
#!/bin/sh
lib=$(dirname "$(readlink -f "$0")")/../pulseaudio/usr/lib
modules=$(echo "$lib"/pulse-*/modules)
LD_LIBRARY_PATH=$modules:$(echo "$lib"/*/pulseaudio) exec "$lib/../bin/pulseaudio" --dl-search-path="$modules" "$@"
EOF
    chmod +x .venv/bin/pulseaudio
}
