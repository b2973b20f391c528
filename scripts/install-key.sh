# Sourced by scripts/install, after prepare.sh: the settings key, an SSH key that can do nothing but change settings.
# shellcheck shell=bash
# shellcheck disable=SC2154 # work, OPT, settings_key_file: set by scripts/install

ADMIN=kioskd-admin
ADMIN_HOME=/var/lib/kioskd-admin # root's, and so is all in it: the user can't change its own keys
SUDOERS=/etc/sudoers.d/kioskd-admin
FORCED='restrict,command="/opt/kioskd/bin/kioskd config-shell"'
KEY_TYPES='ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com'

settings_key() {
    need_root "$@"
    [ -n "$(installed_version)" ] || die "kioskd is not installed here: first: sudo scripts/install"
    forced_lines <"$settings_key_file" >"$work/authorized_keys"
    need_writable
    if [ ! -s "$work/authorized_keys" ]; then
        forbid_settings_key
        say "there is no key in $settings_key_file: nobody has one now"
        return
    fi
    need_packages sudo
    put_sudoers "$OPT/share/kioskd/systemd"
    # No password, but not locked either: a locked user's keys open nothing where sshd doesn't ask PAM.
    getent passwd $ADMIN >/dev/null ||
        useradd --system --user-group --home-dir $ADMIN_HOME --no-create-home --shell /bin/sh --password '*' $ADMIN
    install -d -m 755 $ADMIN_HOME $ADMIN_HOME/.ssh
    install -m 644 "$work/authorized_keys" $ADMIN_HOME/.ssh/authorized_keys.new
    mv -T $ADMIN_HOME/.ssh/authorized_keys.new $ADMIN_HOME/.ssh/authorized_keys
    say "$(wc -l <"$work/authorized_keys") key(s) for: ssh $ADMIN@$(uname -n) config|status|doctor|secret"
}

# Public keys, as in ~/.ssh/id_ed25519.pub, become lines of authorized_keys that force the command.
forced_lines() {
    local line number=0
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1)) line=${line%$'\r'}
        case $line in '' | '#'*) continue ;; esac
        if ! [[ "$line" =~ ^($KEY_TYPES)\ [A-Za-z0-9+/]+=*(\ [[:print:]]*)?$ ]] ||
            ! ssh-keygen -l -f /dev/stdin <<<"$line" >/dev/null 2>&1; then
            die "$settings_key_file:$number: this is no public key; one line each, as in ~/.ssh/id_ed25519.pub"
        fi
        printf '%s %s\n' "$FORCED" "$line"
    done
}

# Whole at once: a broken rule would take sudo from everybody. (A name with a dot is no rule.)
put_sudoers() {
    visudo -cqf "$1/sudoers.d/$ADMIN" || die "sudo here does not understand $1/sudoers.d/$ADMIN"
    install -D -m 440 "$1/sudoers.d/$ADMIN" $SUDOERS.new
    sync -f $SUDOERS.new
    mv -T $SUDOERS.new $SUDOERS
}

forbid_settings_key() {
    rm -rf $SUDOERS $SUDOERS.new $ADMIN_HOME
    ! getent passwd $ADMIN >/dev/null || userdel $ADMIN
}
