# shellcheck shell=sh
# The host `sudo-rs`, where sudo is the one that is written in Rust. Debian has it since 13; before, it takes that
# release's libc as well, which is laid over the one of this machine where this host alone sees it.

# As fetching it takes longer than all else; `cargo clean` removes it.
sudo_rs_store=$here/../target/sudo-rs

make_sudo_rs() {
    [ -e "$sudo_rs_store/usr" ] || fetch_sudo_rs || return
    mkdir "$base/sudo-rs"
    cp -a "$sudo_rs_store/usr" "$base/sudo-rs/"
    chown -R root:root "$base/sudo-rs"
    program=$base/sudo-rs/usr/bin/sudo
    # It may be a link to what other packages bring.
    cp --remove-destination "$base/sudo-rs/usr/lib/cargo/bin/sudo" "$program"
    chmod 4755 "$program"
    cp -a "$base/priv-etc" "$base/sudo-rs/etc"
    # It knows less than the other sudo.
    cat >"$base/sudo-rs/etc/sudoers" <<'SUDOERS'
Defaults timestamp_timeout=0
root ALL=(ALL:ALL) ALL
ofs-nopass ALL=(ALL:ALL) NOPASSWD: ALL
ofs-asked ALL=(ALL:ALL) ALL
SUDOERS
}

fetch_sudo_rs() {
    echo 'fetching sudo-rs' >&2
    suite=$(release_name)
    libraries=
    [ "$suite" != bookworm ] || { suite=trixie && libraries='libc6 libgcc-s1'; }
    mkdir -p "$sudo_rs_store"
    # shellcheck disable=SC2086 # a list of words
    fetch_packages "$suite" "$(dpkg --print-architecture)" "$sudo_rs_store/new" sudo-rs $libraries &&
        rm -rf "$sudo_rs_store/new/tree/usr/share" &&
        mv "$sudo_rs_store/new/tree/usr" "$sudo_rs_store/" || return
    rm -rf "$sudo_rs_store/new"
    chown -R "$owner" "$sudo_rs_store"
}
