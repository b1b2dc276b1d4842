# shellcheck shell=sh
# Root file systems for hosts that have less than this machine, and directories that come first in PATH on hosts with
# special programs. They are plain directories, so a test can look for leftovers from outside. Device nodes and /proc
# are mounted over them where only that host sees them (see `namespace`).

make_roots() {
    make_root bare
    cp /bin/busybox "$base/roots/bare/bin/"
    # Its ash runs every applet by itself, so no other name is needed ...
    ln -s busybox "$base/roots/bare/bin/sh"

    make_root bare-noproc
    cp /bin/busybox "$base/roots/bare-noproc/bin/"
    # ... but it runs them by way of /proc/self/exe, so without /proc there must be names.
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$base/roots/bare-noproc/bin/$applet"
    done

    make_root mini
    dpkg -L coreutils dash | grep -E '^(/usr)?/bin/' | add_programs mini
    ln -sf dash "$base/roots/mini/bin/sh"

    make_root gzip-only
    cp -al "$base/roots/mini/usr" "$base/roots/gzip-only/"
    echo /bin/gzip | add_programs gzip-only

    # For containers. With another PATH, only the programs in /only can be seen.
    make_root few
    printf '%s\n' /bin/dash /bin/uname /usr/bin/head | add_programs few
    ln -sf dash "$base/roots/few/bin/sh"
    cp /bin/busybox "$base/roots/few/busybox"
    mkdir "$base/roots/few/only"
    ln -s /bin/dash "$base/roots/few/only/sh"

    make_path nowhere
    for program in /bin/sh /bin/gzip /usr/bin/zstd $(dpkg -L coreutils | grep -E '^(/usr)?/bin/'); do
        ln -s "$program" "$base/path/nowhere/"
    done

    for path in perl python no-uname no-reader; do
        make_path $path
        ln -s "$base/path/nowhere/"* "$base/path/$path/"
    done
    ln -s /usr/bin/perl "$base/path/perl/"
    ln -s /usr/bin/python3 "$base/path/python/"
    rm "$base/path/no-uname/uname" "$base/path/no-reader/head" "$base/path/no-reader/dd"
    make_path no-sh
    ln -s /bin/true "$base/path/no-sh/"

    make_path sh-exits
    printf '#!/bin/sh\nexit 3\n' >"$base/path/sh-exits/sh"
    make_path odd-machine
    cat >"$base/path/odd-machine/uname" <<'UNAME'
#!/bin/sh
case $* in
'' | -s) echo Plan9 ;;
-m) echo vax ;;
*) echo Plan9 vax ;;
esac
UNAME
    chmod 755 "$base/path/sh-exits/sh" "$base/path/odd-machine/uname"
}

make_path() {
    mkdir -p "$base/path/$1"
}

# make_root NAME: a tree without programs. Users are looked up in its passwd before and after the chroot, so the shell
# of root is one that the tree has.
make_root() {
    root=$base/roots/$1
    mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/dev" "$root/proc" "$root/etc" "$root/home"
    ln -s usr/bin usr/lib usr/lib64 "$root/"
    install -d -m 1777 "$root/tmp"
    install -d -m 700 "$root/root"
    install -d -m 700 -o ofs-user -g ofs-user "$root/home/ofs-user"
    {
        echo root:x:0:0:root:/root:/bin/sh
        echo "ofs-user:x:$(id -u ofs-user):$(id -g ofs-user)::/home/ofs-user:/bin/sh"
        # sshd needs an account of its own, for the part that handles unauthenticated connections.
        getent passwd sshd nobody
    } >"$root/etc/passwd"
    printf 'root:x:0:\nofs-user:x:%s:\n' "$(id -g ofs-user)" >"$root/etc/group"
}

# add_programs NAME <PATHS: copies programs and the libraries they need.
add_programs() (
    programs=$(cat)
    # shellcheck disable=SC2086 # a list of words
    # ldd names some libraries twice, with and without /usr, which is the same directory on these systems.
    libraries=$(ldd $programs | grep -Eo '/[^ :]+\.so[^ :]*' | sed 's,^/usr/,/,' | sort -u)
    # shellcheck disable=SC2086 # lists of words
    cp -L --parents $programs $libraries "$base/roots/$1/"
)

# A static busybox for each other processor, and the C library for some.
make_foreign_roots() {
    foreigners | while read -r host arch _ _ _ libc; do
        make_foreign_root "$host" "$store/busybox/$arch"
        [ "$libc" != libc ] || cp -a "$store/libc/$arch/." "$base/roots/$host/"
    done
    # Another kernel than that of its programs: `uname -m` reports the kernel.
    make_foreign_root i686-on-x86_64 "$store/busybox/i386"
}

make_foreign_root() {
    make_root "$1"
    # Its applets have names, because /proc/self/exe may be the emulator.
    cp -a "$base/roots/bare-noproc/bin/." "$base/roots/$1/bin/"
    cp "$2" "$base/roots/$1/bin/busybox"
    chmod 755 "$base/roots/$1/bin/busybox"
}
