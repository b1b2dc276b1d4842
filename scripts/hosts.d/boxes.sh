# shellcheck shell=sh
# The host `boxes`: classic LXC, LXD, Incus and systemd-machined, each with containers, and Slurm with a job. They write to memory that
# only this host sees. All of their processes end with the host.

# An /etc of its own, with the range of ids that LXD and Incus need for root.
make_boxes() {
    etc=$base/boxes-etc
    cp -a "$base/priv-etc" "$etc"
    echo 'root:1000000:10000000' | tee "$etc/subuid" >"$etc/subgid"
    mkdir "$base/boxes"
}

# In the background, because it takes a second or two.
start_boxes() {
    wait_for_server boxes
    # Its own first process.
    read -r outside _ <"$base/run/boxes.pid"
    pid=$(cat "/proc/$outside/task/$outside/children")
    echo "${pid% }" >"$base/run/boxes.inside"
    nsenter --target "${pid% }" --mount --pid "$here/boxes" "$base" $boxes_cgroup &
    boxes=$!
}

# If an engine does not come up here, the other hosts are used all the same.
wait_for_boxes() {
    wait "$boxes" || :
    [ "$(cat "$base/boxes/up")" = 'incus lxc lxd machinectl slurm ' ] || {
        echo "hosts: not all of incus, lxc, lxd, machinectl and slurm are up: $(cat "$base/boxes/up")" >&2
        cat "$base"/log/boxes-* >&2
    }
}
