# Sourced by scripts/install, after prepare.sh: Debian packages, wheels, and a version as a folder of its own.
# shellcheck shell=bash
# shellcheck disable=SC2154 # work, wheelhouse, extras, appliance and the paths: set by scripts/install

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
    unfinished=$folder
    python3 -m venv --without-pip "$folder"
    # Without a cache: an SD card is small, and this is done once.
    pip "$folder/bin/python" install -q --no-cache-dir --no-compile --no-warn-script-location "${pip_options[@]}" \
        "kioskd[$extras] @ file://$wheel"
    # A version is never changed: its .pyc need no look at the sources' dates, which a Pi's clock makes up.
    "$folder/bin/python" -m compileall -q -j 0 -x '/tests/' --invalidation-mode unchecked-hash "$folder/lib" || true
    sync -f "$folder" # the mark must not outlive a power cut that its files did not
    touch "$folder/complete"
    sync -f "$folder/complete"
    # shellcheck disable=SC2034 # finish, in scripts/install, reads it
    unfinished=''
}

# --- what is installed, and what is in use

installed_version() { basename "$(readlink "$OPT/current")" 2>/dev/null || true; }

# The version to go back to: the one in use, unless a run was cut off (its power, say) while it tried that one.
version_before() {
    local before
    before=$(cat "$UNTRIED" 2>/dev/null || true)
    if [ -n "$before" ] && [ -e "$OPT/versions/$before/complete" ]; then
        echo "$before"
    else
        installed_version
    fi
}

note_untried() {
    echo "$1" >"$UNTRIED.new"
    sync "$UNTRIED.new"
    mv -T "$UNTRIED.new" "$UNTRIED"
    sync -f "$OPT"
}

# `put FOLDER FILE…`, each whole at once: systemd takes a unit of 0 bytes, as a power cut can leave it, for masked.
# (A name with .new is no unit, nor anything else that is looked for there.)
put() {
    local folder=$1 file
    shift
    for file in "$@"; do
        install -D -m 644 "$file" "$folder/${file##*/}.new"
    done
    sync -f "$folder"
    for file in "$@"; do
        mv -T "$folder/${file##*/}.new" "$folder/${file##*/}"
    done
}

# Points everything to a version that is there already.
use_version() {
    local share=$OPT/versions/$1/share/kioskd/systemd
    ln -sfn "versions/$1" "$OPT/current.new" && mv -T "$OPT/current.new" "$OPT/current"
    ln -sfn current/bin "$OPT/bin"
    ln -sfn current/share "$OPT/share"
    ln -sfn "$OPT/bin/kioskd" /usr/local/bin/kioskd
    put /etc/sysusers.d "$share/sysusers.d/kioskd.conf"
    put /etc/tmpfiles.d "$share/tmpfiles.d/kioskd.conf"
    put /etc/udev/rules.d "$share/udev/60-kioskd-gpio.rules"
    put "$UNITS" "$share/kioskd.service" "$share"/reboot/*.service "$share"/reboot/*.timer
    [ ! -d "$share/tools" ] || put "$UNITS" "$share"/tools/*
    if [ -n "$appliance" ] || [ -e "$DROP_INS/reboot.conf" ]; then
        put "$DROP_INS" "$share/drop-ins/reboot.conf"
        put /etc/systemd/system.conf.d "$share/system.conf.d/kioskd-watchdog.conf"
        systemctl -q enable kioskd-reboot-credit.timer
    fi
    # Where there is a settings key, its rule is this version's.
    [ ! -e "$SUDOERS" ] || [ ! -e "$share/sudoers.d/$ADMIN" ] || put_sudoers "$share"
    # An encrypted key wins over a plain one.
    [ ! -e "$ENCRYPTED_KEY" ] || put "$DROP_INS" "$share/drop-ins/encrypted-key.conf"
    sync -f "$OPT" "$UNITS"
    ! booted || systemctl daemon-reload
}

# Old versions but the one in use and the one before.
prune() {
    local folder
    for folder in "$OPT"/versions/*; do
        case ${folder##*/} in "$version" | "$1") ;; *) rm -rf "$folder" ;; esac
    done
}
