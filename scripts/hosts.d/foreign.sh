# shellcheck shell=sh
# Hosts with another processor. Each has a static busybox for its architecture, and the C library if its images need
# one. qemu-user runs them, and the kernel recognises them by their headers (binfmt_misc). i686 needs no emulator on an
# x86_64 kernel.

# Prints the host, Debian's name of the architecture, qemu's name, the first bytes of an executable in the notation of
# `printf` (class, byte order, and the number of the machine), and whether the host has a C library.
foreigners() {
    cat <<'TABLE'
aarch64 arm64 aarch64 \002\001 \267\000 -
armv7   armhf arm     \001\001 \050\000 libc
s390x   s390x s390x   \002\002 \000\026 libc
ppc64le ppc64el ppc64le \002\001 \025\000 libc
riscv64 riscv64 riscv64 \002\001 \363\000 libc
i686    i386  -       -        -        -
TABLE
}

# emulated HOST COMMAND...: becomes COMMAND, in a place where the kernel runs such executables by qemu. This works in a
# chroot without qemu, because the kernel keeps qemu open. The registration belongs to a user namespace, so it does not
# change the machine and does not depend on it. It needs Linux 6.7. Before that, the machine's own registration is used.
emulated() {
    this=$$
    mine=$(readlink /proc/$this/ns/user)
    # The ids inside are the same. A process outside has to write the mapping.
    (
        until [ "$(readlink /proc/$this/ns/user)" != "$mine" ]; do
            sleep 0.01
        done
        echo 0 0 4294967295 >/proc/$this/uid_map
        echo 0 0 4294967295 >/proc/$this/gid_map
    ) &
    # The process gets its rights with the first exec after the ids were mapped.
    # shellcheck disable=SC2016 # the inner shell expands it
    exec unshare --user sh -c 'until grep -q . /proc/self/gid_map; do :; done; exec unshare --mount "$@"' sh \
        "${0%/*}/emulated" "$@"
}
