# shellcheck shell=sh
# The host `boxes`: classic LXC, LXD, Incus and systemd's machines, each with containers. What engines write, they
# write to memory that the host alone sees, and all of their processes end with it.

box_packages='lxc lxd lxd-client systemd-container dbus uidmap'
# Below which its containers' control groups are; `remove_cgroups` knows it by its beginning.
box_cgroup=offshoot-hosts-boxes

# Incus is in Debian since 13; before, it takes the backports, of which apt here need not know.
need_incus() {
    [ ! -x /usr/libexec/incus/incusd ] || return 0
    if apt-cache policy incus-base | grep -q 'Candidate: [0-9]'; then
        need_packages 'incus-base incus-client' ''
    elif [ "$(release_name)" = bookworm ]; then
        echo 'installing incus-base incus-client' >&2
        without_services install_backports incus-base incus-client
    fi
}

# A /etc of its own: with the one range of ids that LXD and Incus want root to have, and a directory for LXC whose
# name nobody else has, as LXC makes sockets of that name which all of the machine share.
make_boxes() {
    etc=$base/boxes-etc
    cp -a "$base/priv-etc" "$etc"
    echo 'root:1000000:10000000' | tee "$etc/subuid" >"$etc/subgid"
    mkdir -p "$etc/lxc"
    echo "lxc.lxcpath = /var/lib/lxc-$(cat /proc/sys/kernel/random/uuid)" >"$etc/lxc/lxc.conf"
    mkdir "$base/boxes"
}

# In the background, as it takes a second or two.
start_boxes() {
    wait_for_server boxes
    # The first process of its own.
    read -r outside _ <"$base/run/boxes.pid"
    pid=$(cat "/proc/$outside/task/$outside/children")
    echo "${pid% }" >"$base/run/boxes.inside"
    nsenter --target "${pid% }" --mount --pid "$here/hosts.d/boxes" "$base" $box_cgroup 9<&- &
    boxes=$!
}

# An engine that does not come up here is no reason to do without all the other hosts.
wait_for_boxes() {
    wait "$boxes" || :
    [ "$(cat "$base/boxes/up")" = 'incus lxc lxd machinectl ' ] || {
        echo "hosts: not all of incus, lxc, lxd and machinectl are up: $(cat "$base/boxes/up")" >&2
        cat "$base"/log/boxes-* >&2
    }
}
