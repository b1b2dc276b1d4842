# shellcheck shell=sh
# Hosts with another processor: a static busybox of that architecture, which qemu-user runs and the kernel knows
# by its header (binfmt_misc). i686 needs no emulator, where the kernel is that of an x86_64.

# Where busybox is kept, as fetching it takes longer than all else; `cargo clean` removes it.
foreign_store=$here/../target/foreign

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

# The package that static emulators are in, here and in later releases.
foreign_packages() {
    if apt-cache show qemu-user-static >/dev/null 2>&1; then echo qemu-user-static; else echo qemu-user; fi
}

make_foreign_roots() {
    foreigners | while read -r host arch _; do
        [ -e "$foreign_store/$arch/busybox" ] || fetch_busybox "$arch"
        make_foreign_root "$host" "$foreign_store/$arch/busybox"
    done
    # Another kernel than its programs: `uname -m` tells of the kernel.
    make_foreign_root i686-on-x86_64 "$foreign_store/i386/busybox"
    enable_foreign
}

# Whatever is registered already stays, and goes ahead.
enable_foreign() {
    foreigners | while read -r host _ emulator kind number; do
        runs_foreign "$host" || register_emulator "$host" "$emulator" "$kind" "$number"
        runs_foreign "$host" || {
            echo "hosts: this kernel runs nothing for $host" >&2
            exit 1
        }
    done
}

make_foreign_root() {
    make_root "$1"
    # With its applets by name, as /proc/self/exe may be the emulator.
    cp -a "$base/roots/bare-noproc/bin/." "$base/roots/$1/bin/"
    cp "$2" "$base/roots/$1/bin/busybox"
}

runs_foreign() {
    chroot "$base/roots/$1" /bin/busybox true 2>/dev/null
}

fetch_busybox() {
    echo "fetching busybox for $1" >&2
    mkdir -p "$foreign_store"
    new=$(mktemp -d "$foreign_store/new.XXXXXX")
    fetch_packages "$(release_name)" "$1" "$new" busybox-static
    mkdir -p "$foreign_store/$1"
    mv "$new"/tree/bin/busybox "$foreign_store/$1/busybox" 2>/dev/null ||
        mv "$new"/tree/usr/bin/busybox "$foreign_store/$1/busybox"
    rm -rf "$new"
    chown -R "$owner" "$foreign_store"
}

# register_emulator HOST EMULATOR KIND NUMBER: has the kernel run such executables by qemu, also in a chroot that
# has no qemu, since the kernel keeps it open.
register_emulator() {
    [ "$2" != - ] || return 0
    program=$(command -v "qemu-$2-static" || command -v "qemu-$2") || return 0
    # What is registered lives as long as the table is mounted somewhere.
    if [ ! -e $binfmt/register ]; then
        mount -t binfmt_misc binfmt_misc $binfmt
        : >"$base/made-binfmt"
    fi
    # Of the type there are two, executable and position-independent, which differ by a bit.
    case $3 in
    *'\002') type='\000\002' type_mask='\377\376' ;;
    *) type='\002\000' type_mask='\376\377' ;;
    esac
    magic=$(hex "\177ELF$3\001\000\000\000\000\000\000\000\000\000$type$4")
    mask=$(hex "\377\377\377\377\377\377\377\000\000\000\000\000\000\000\000\000$type_mask\377\377")
    printf '%s' ":$binfmt_prefix$1:M::$magic:$mask:$program:OPF" >$binfmt/register
}

binfmt=/proc/sys/fs/binfmt_misc
binfmt_prefix=ofs-

# Prints bytes as the kernel wants them.
hex() {
    # shellcheck disable=SC2059 # it is a format
    printf "$1" | od -An -v -tx1 | tr -d '\n' | sed 's/ /\\x/g'
}

# What we have registered goes; what others have is not called so.
remove_emulators() {
    for entry in $binfmt/$binfmt_prefix*; do
        [ ! -e "$entry" ] || echo -1 >"$entry"
    done
    [ ! -e "$base/made-binfmt" ] || umount $binfmt
}
