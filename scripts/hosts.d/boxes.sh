# shellcheck shell=sh
# The host `boxes`: classic LXC, LXD, Incus and systemd's machines, each with containers. What engines write, they
# write to memory that the host alone sees, and all of their processes end with it.

# A /etc of its own: with the one range of ids that LXD and Incus want root to have.
make_boxes() {
    etc=$base/boxes-etc
    cp -a "$base/priv-etc" "$etc"
    echo 'root:1000000:10000000' | tee "$etc/subuid" >"$etc/subgid"
    mkdir "$base/boxes"
}

# In the background, as it takes a second or two.
start_boxes() {
    wait_for_server boxes
    # The first process of its own.
    read -r outside _ <"$base/run/boxes.pid"
    pid=$(cat "/proc/$outside/task/$outside/children")
    echo "${pid% }" >"$base/run/boxes.inside"
    nsenter --target "${pid% }" --mount --pid "$here/boxes" "$base" $boxes_cgroup &
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
