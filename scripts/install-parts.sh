# Sourced by scripts/install, after prepare.sh: Debian packages, wheels, and a version as a folder of its own.
# shellcheck shell=bash
# shellcheck disable=SC2154 # work, wheelhouse, extras: set by scripts/install

need_debian_packages() {
    local packages=(python3 python3-venv "${KIOSK_PACKAGES[@]}")
    if [ -z "$wheelhouse" ]; then
        packages+=("${BUILD_PACKAGES[@]}" python3-dev)
    elif compgen -G "$wheelhouse/debs/*.deb" >/dev/null && [ -n "$(missing_packages "${packages[@]}")" ]; then
        say "installing Debian packages from $wheelhouse/debs"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-download --no-install-recommends --no-remove \
            "$wheelhouse"/debs/*.deb || die "these Debian packages don't fit this machine, see above"
    fi
    need_packages "${packages[@]}"
    # lgpio has no wheel for 3.13: built from its source, with its library inside.
    if [ -z "$wheelhouse" ] && python3 -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
        need_packages swig
        export PYPI=1
    fi
}

missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

# pip without a pip in the venv: Debian's own wheel of it.
pip() {
    local python=$1 wheels=(/usr/share/python-wheels/pip-*.whl)
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore "$python" "${wheels[-1]}/pip" "${@:2}" ||
        die "pip failed, see above. Is there a network, and PyPI on it? If not: --wheelhouse (see --help)"
}

# The checkout's wheel in a folder; built in a copy, so that the checkout stays as it is.
build_wheel() {
    local folder=$1 copy=$work/source
    mkdir "$copy"
    cp -r kioskd config systemd setup.cfg pyproject.toml README.md LICENSE "$copy"
    find "$copy" -name __pycache__ -prune -exec rm -r {} +
    pip "$work/venv/bin/python" wheel -q --no-deps -w "$folder" "$copy" >&2
}

make_wheelhouse() {
    local missing=() target
    mkdir -p "$wheelhouse/debs"
    target=$(realpath "$wheelhouse") wheelhouse=''
    mapfile -t missing < <(missing_packages python3 python3-venv "${KIOSK_PACKAGES[@]}")
    if [ ${#missing[@]} -gt 0 ]; then
        say "fetching Debian packages"
        apt_get install --download-only -o Dir::Cache::archives="$target/debs" "${missing[@]}"
        rm -rf "$target/debs/partial" "$target/debs/lock"
    fi
    need_debian_packages
    say "building wheels"
    python3 -m venv --without-pip "$work/venv"
    rm -f "$target"/kioskd-*.whl
    build_wheel "$target"
    pip "$work/venv/bin/python" wheel -q -w "$target" --find-links "$target" "kioskd[$extras] @ file://$(echo "$target"/kioskd-*.whl)" >&2
    say "done: $target ($(find "$target" -name '*.whl' | wc -l) wheels, $(find "$target" -name '*.deb' | wc -l) Debian packages)"
}

# --- a version: a folder of its own, whole before anything points to it

# Sets `version` and makes /opt/kioskd/versions/$version.
make_version() {
    local wheel folder pip_options=()
    python3 -m venv --without-pip "$work/venv"
    if [ -n "$wheelhouse" ]; then
        wheel=$(compgen -G "$wheelhouse/kioskd-*.whl") || die "there is no kioskd-*.whl in $wheelhouse"
        [ "$(wc -l <<<"$wheel")" -eq 1 ] || die "there is more than one kioskd-*.whl in $wheelhouse"
        pip_options=(--no-index --find-links "$wheelhouse")
    else
        build_wheel "$work"
        wheel=$(echo "$work"/kioskd-*.whl)
    fi
    # Of what is in the wheel, not of its dates; of the packages beside it, and of the python.
    version=$(basename "$wheel" | cut -d- -f2)-$({
        "$work/venv/bin/python" -c 'import sys, zipfile
for item in sorted(zipfile.ZipFile(sys.argv[1]).infolist(), key=lambda item: item.filename):
    print(item.filename, item.CRC)' "$wheel"
        [ -z "$wheelhouse" ] || (cd "$wheelhouse" && ls -- *.whl)
        echo "$extras $(python3 --version)"
    } | sha256sum | cut -c1-8)
    folder=$OPT/versions/$version
    [ ! -e "$folder/complete" ] || return 0
    say "making $folder"
    rm -rf "$folder"
    mkdir -p "$OPT/versions"
    python3 -m venv --without-pip "$folder"
    # Without a cache: an SD card is small, and this is done once.
    pip "$folder/bin/python" install -q --no-cache-dir --no-compile --no-warn-script-location "${pip_options[@]}" \
        "kioskd[$extras] @ file://$wheel"
    # A version is never changed: its .pyc need no look at the sources' dates, which a Pi's clock makes up.
    "$folder/bin/python" -m compileall -q -j 0 -x '/tests/' --invalidation-mode unchecked-hash "$folder/lib" || true
    touch "$folder/complete"
    sync -f "$folder/complete"
}
