# shellcheck shell=sh
# Passwords, and the users who may become others by them. Hosts that need them have an /etc of their own, so that the
# other hosts do not change.

# The passwords contain blanks, quotes and characters that are special for shells and sudo. `env` puts them in single
# quotes.
password='Tr0ub4dor & "horse" $HOME \n %u'
root_password='c0rrect; batt*ery `staple`'
passphrase='open  sesame!'

make_privileges() {
    etc=$base/priv-etc
    cp -a /etc "$etc"
    for user in root ofs-nopass ofs-asked ofs-target ofs-strict ofs-stars ofs-norule ofs-one-try ofs-expired; do
        word=$password
        [ $user != root ] || word=$root_password
        # One that busybox can read too.
        hash=$(perl -e 'print crypt $ARGV[0], "\$6\$ofs\$"' "$word")
        set_shadow "$user" 2 "$hash"
    done
    # A long time ago.
    set_shadow ofs-expired 8 1
    set_shadow ofs-gone 8 1
    set_shadow ofs-stale 3 0
    mkdir -p "$etc/security/limits.d"
    cat >"$etc/security/limits.d/ofs.conf" <<'LIMITS'
ofs-too-many  hard maxlogins 0
ofs-one-proc  hard nproc     1
ofs-two-procs hard nproc     2
LIMITS
    mkdir "$base/closed-etc"
    echo 'Closed until the new disks are in.' >"$base/closed-etc/nologin"
    cat >"$etc/sudoers" <<SUDOERS
Defaults env_reset, secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Defaults !lecture, timestamp_timeout=0
root ALL=(ALL:ALL) ALL
ofs-nopass ALL=(ALL:ALL) NOPASSWD: ALL
ofs-asked ALL=(ALL:ALL) ALL
Defaults:ofs-asked lecture=always
ofs-target ALL=(ALL:ALL) ALL
Defaults:ofs-target targetpw
ofs-one-try ALL=(ALL:ALL) ALL
Defaults:ofs-one-try passwd_tries=1
ofs-strict ALL=(ALL:ALL) NOPASSWD: ALL
Defaults:ofs-strict requiretty, use_pty, log_output, log_input, iolog_dir=$base/sudo-io
ofs-stars ALL=(ALL:ALL) ALL
Defaults:ofs-stars pwfeedback, passprompt="[custom prompt for %p]: "
ofs-noexec ALL=(ALL:ALL) NOPASSWD: NOEXEC: ALL
ofs-intercept ALL=(ALL:ALL) NOPASSWD: ALL
Defaults:ofs-intercept intercept
ofs-traced ALL=(ALL:ALL) NOPASSWD: ALL
Defaults:ofs-traced intercept, intercept_type=trace
ofs-recorded ALL=(ALL:ALL) NOPASSWD: ALL
Defaults:ofs-recorded log_output, iolog_dir=$base/sudo-io
ofs-few-cmds ALL=(ALL:ALL) NOPASSWD: /usr/bin/id
@includedir /etc/sudoers.d
SUDOERS
    chmod 440 "$etc/sudoers"
    rm -rf "$etc/sudoers.d"
    mkdir -m 755 "$etc/sudoers.d"
    printf 'permit nopass ofs-nopass\npermit ofs-asked\npermit ofs-one-try\n' >"$etc/doas.conf"
    chmod 600 "$etc/doas.conf"
    make_german
    mkdir -p "$base/bin"
    # A copy that belongs to root and is setuid, so that it may become other users.
    cp /bin/busybox "$base/bin/su"
    chmod 4755 "$base/bin/su"
}

# set_shadow USER FIELD VALUE, in $etc.
set_shadow() {
    awk -F: -v OFS=: -v user="$1" -v field="$2" -v value="$3" '$1 == user { $field = value } { print }' \
        "$etc/shadow" >"$etc/shadow.new"
    cat "$etc/shadow.new" >"$etc/shadow"
    rm "$etc/shadow.new"
}

make_german() {
    # localedef complains about words that the locale lacks. That does no harm.
    localedef -i de_DE -f UTF-8 de_DE.UTF-8 2>/dev/null || [ -e /usr/lib/locale/locale-archive ]
    [ ! -e "$store/german" ] || cp -a "$store/german/." /usr/share/locale/de/
}

# The host `sudo-rs`, whose sudo is the one written in Rust.
make_sudo_rs() {
    mkdir "$base/sudo-rs"
    cp -a "$store/sudo-rs" "$base/sudo-rs/usr"
    chown -R root:root "$base/sudo-rs"
    program=$base/sudo-rs/usr/bin/sudo
    # The file may be a link to a file of another package.
    cp --remove-destination "$base/sudo-rs/usr/lib/cargo/bin/sudo" "$program"
    chmod 4755 "$program"
    cp -a "$base/priv-etc" "$base/sudo-rs/etc"
    # It has fewer options than the other sudo.
    cat >"$base/sudo-rs/etc/sudoers" <<'SUDOERS'
Defaults timestamp_timeout=0
root ALL=(ALL:ALL) ALL
ofs-nopass ALL=(ALL:ALL) NOPASSWD: ALL
ofs-asked ALL=(ALL:ALL) ALL
ofs-few-cmds ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
SUDOERS
}
