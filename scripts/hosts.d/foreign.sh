# shellcheck shell=sh
# Hosts with another processor: a static busybox of that architecture, which qemu-user runs and the kernel knows
# by its header (binfmt_misc). i686 needs no emulator, where the kernel is that of an x86_64.

# Prints host, Debian's name of the architecture, qemu's, and how an executable for it begins, in the words of
# `printf`: class and byte order, and the machine's number.
foreigners() {
    cat <<'TABLE'
aarch64 arm64 aarch64 \002\001 \267\000
armv7   armhf arm     \001\001 \050\000
s390x   s390x s390x   \002\002 \000\026
i686    i386  -       -        -
TABLE
}

# emulated HOST COMMAND...: becomes COMMAND where the kernel has qemu run such executables, also in a chroot that has no
# qemu, since the kernel keeps it open. What the kernel is told belongs to a user namespace, so that it is neither the
# machine's nor depends on what the machine has. That takes Linux 6.7; before, what the machine has must do.
emulated() {
    this=$$
    mine=$(readlink /proc/$this/ns/user)
    # The ids are the same in there. A process of the outer namespace has to say so.
    (
        until [ "$(readlink /proc/$this/ns/user)" != "$mine" ]; do
            sleep 0.01
        done
        echo 0 0 4294967295 >/proc/$this/uid_map
        echo 0 0 4294967295 >/proc/$this/gid_map
    ) &
    # Rights come back with the first program that is started once there are ids.
    # shellcheck disable=SC2016 # the inner shell expands it
    exec unshare --user sh -c 'until grep -q . /proc/self/gid_map; do :; done; exec unshare --mount "$@"' sh \
        "${0%/*}/emulated" "$@"
}
