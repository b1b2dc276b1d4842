# shellcheck shell=sh
# The host `engines`: docker, podman and buildah with containers, and a program in place of the API server of
# Kubernetes. It has its own process and mount namespaces, so no process of an engine outlives it.

kube_port=6443

# An /etc of its own, which has the sudo rules of the others. Engines read and write there.
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
    cat >"$etc/kubeconfig" <<CONF
{"apiVersion": "v1", "kind": "Config", "current-context": "c",
 "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:$kube_port"}}],
 "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}
CONF
    cp "$here/kube_api.py" "$base/"
    make_path engines
    ln -s "$store/kubectl/bin/kubectl" "$base/path/engines/kubectl"
}

start_engines() {
    wait_for_server engines
    # Its own first process.
    pid=$(pgrep -P "$(cut -d ' ' -f 1 "$base/run/engines.pid")")
    echo "$pid" >"$base/run/engines.inside"
    nsenter --target "$pid" --mount --pid "$here/containers" "$base" ofs-user $kube_port "$engines_cgroup" "$here/foreign_runtime"
    # The clients, as they are run from outside.
    mkdir "$base/engines/bin"
    for client in docker podman buildah kubectl; do
        cat >"$base/engines/bin/$client" <<CLIENT
#!/bin/sh
KUBECONFIG=/etc/kubeconfig KUBECACHEDIR=/run/kube-cache BUILDAH_ISOLATION=chroot PATH=$base/path/engines:/usr/sbin:/usr/bin:/sbin:/bin exec nsenter --target $pid --mount --pid -- $client "\$@"
CLIENT
        chmod 755 "$base/engines/bin/$client"
    done
}
