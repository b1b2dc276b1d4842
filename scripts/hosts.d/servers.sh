# shellcheck shell=sh
# The sshd of each host, and the one listener that is no sshd. Each has an address of its own on the
# loopback network, and a port that is free; $base/run/NAME.{address,port} say which.

start_servers() {
    # sshd does not start without it, and only Debian's own service makes it.
    [ -d /run/sshd ] || { mkdir /run/sshd && : >"$base/made-run-sshd"; }
    ssh-keygen -q -t ed25519 -N '' -C offshoot-test-client -f "$base/id"
    ssh-keygen -q -t ed25519 -N '' -C offshoot-test-host -f "$base/hostkey"
    ssh-keygen -q -t ed25519 -N '' -C offshoot-test-other-host -f "$base/otherkey"
    ssh-keygen -q -t ed25519 -N "$passphrase" -C offshoot-test-locked -f "$base/locked"
    cp "$base/id.pub" "$base/authorized_keys"
    printf 'Welcome to a noisy host.\n\nEverything you do\n\tis printed twice.\n' >"$base/banner"

    # A locked root, as Debian's installer can leave it, may not log in: the hosts see a copy where it may.
    if getent shadow root | grep -q '^root:!'; then
        cp -a /etc "$base/"
        sed -i 's/^root:[^:]*/root:*/' "$base/etc/shadow"
    fi

    number=10
    for server in $(servers); do
        number=$((number + 1))
        echo "127.0.0.$number" >"$base/run/$server.address"
        server_config "$server" >"$base/run/$server.conf"
        start_server "$server"
    done
    # shellcheck disable=SC2016 # it is perl that expands it
    start silent perl -MSocket -e '
        socket my $listener, PF_INET, SOCK_STREAM, 0 or die "socket: $!";
        bind $listener, pack_sockaddr_in 0, inet_aton "127.0.0.10" or die "bind: $!";
        listen $listener, 128 or die "listen: $!";
        open my $file, ">", $ARGV[0] or die "$ARGV[0]: $!";
        print $file +(unpack_sockaddr_in getsockname $listener)[0], "\n";
        close $file;
        my @held;
        while (accept my $connection, $listener) {
            push @held, $connection;
            shift @held if @held > 500;
        }
    ' "$base/run/silent.port"
    echo 127.0.0.10 >"$base/run/silent.address"

    start_boxes
    for server in $(servers); do
        wait_for_server "$server"
    done
    wait_for_file "$base/run/silent.port"
    : >"$base/up"
}

is_machine() {
    case $1 in here | web | crowd | frozen) ;; *) return 1 ;; esac
}

# start_server NAME: on a port that nobody uses a moment before.
start_server() {
    free_port
    echo "$port" >"$base/run/$1.port"
    # `-e`, not `-E`: a log opened by sshd itself would not open on a read-only host.
    set -- "$1" /usr/sbin/sshd -D -e -f "$base/run/$1.conf" -p "$port"
    # Hosts that are this machine have no namespace of their own, which tests could tell, where it can be avoided.
    if is_machine "$1" && [ ! -e "$base/etc" ]; then
        start "$@"
    else
        start "$1" unshare --mount "$here/hosts.d/namespace" "$base" "$@"
    fi
}

# Sets $port, a new one with each call. Below the range from which the kernel picks ports for clients.
free_port() {
    port=${port:-$((10000 + $$ % 15000))}
    port=$((port + 1))
    while grep -qi ":$(printf %04x "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null; do
        port=$((port + 1))
    done
}

wait_for_server() {
    tries=0
    until listens "$1"; do
        if ! alive "$1"; then
            # Somebody was faster; another port will do. All else is an error.
            grep -q 'Address already in use' "$base/log/$1" || return 1
            rm "$base/log/$1"
            start_server "$1"
        fi
        [ $tries -lt 200 ] || { echo "hosts: $1 does not listen" >&2 && return 1; }
        sleep 0.02
        tries=$((tries + 1))
    done
}

# Asks the kernel, since a connection would count as a failed login.
listens() {
    address=$(cat "$base/run/$1.address")
    hex=$(printf '%02X00007F:%04X' "${address##*.}" "$(cat "$base/run/$1.port")")
    grep -q ": $hex 00000000:0000 0A" /proc/net/tcp
}

wait_for_file() {
    tries=0
    until [ -s "$1" ]; do
        [ $tries -lt 200 ] || return 1
        sleep 0.02
        tries=$((tries + 1))
    done
}

# How a server lets users in.
asking() {
    case $1 in
    password) printf 'PasswordAuthentication yes\nKbdInteractiveAuthentication no\nPubkeyAuthentication no\nUsePAM no\n' ;;
    questions) printf 'PasswordAuthentication no\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no\nUsePAM yes\n' ;;
    both) printf 'PasswordAuthentication yes\nAuthenticationMethods publickey,password\nUsePAM no\n' ;;
    *) printf 'PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n' ;;
    esac
}

server_config() {
    cat <<CONF
ListenAddress $(cat "$base/run/$1.address")
HostKey $base/hostkey
AuthorizedKeysFile $base/authorized_keys
PermitRootLogin prohibit-password
$(asking "$1")
UseDNS no
PrintMotd no
PidFile none
Subsystem sftp internal-sftp
CONF
    if [ "$1" != crowd ]; then
        echo 'MaxStartups 500:30:1000'
        # Since 9.8 failed logins make a server refuse the address for a while, and here all have the same one.
        if /usr/sbin/sshd -T -f /dev/null -h "$base/hostkey" 2>/dev/null | grep -q '^persourcepenalties '; then
            echo 'PerSourcePenalties no'
        fi
    fi
    case $1 in
    here)
        cat <<CONF
Match User ofs-wrong-key
    AuthorizedKeysFile none
Match User ofs-locked
    AuthorizedKeysFile $base/locked.pub
Match User ofs-noisy,ofs-noisy-err
    Banner $base/banner
Match User ofs-sh-exits
    SetEnv PATH=$base/path/sh-exits:/usr/local/bin:/usr/bin:/bin
Match User ofs-odd
    SetEnv PATH=$base/path/odd-machine:/usr/local/bin:/usr/bin:/bin
Match User ofs-no-sh
    SetEnv PATH=$base/path/no-sh
Match User ofs-no-uname
    SetEnv PATH=$base/path/no-uname
Match User ofs-no-reader
    SetEnv PATH=$base/path/no-reader
Match User ofs-no-home
    ForceCommand unset HOME; set -- "\$SSH_ORIGINAL_COMMAND"; unset SSH_ORIGINAL_COMMAND; eval "\$1"
Match User ofs-forced
    ForceCommand echo "This key may do one thing, and this is it."
CONF
        ;;
    bare | bare-noproc | mini | gzip-only | aarch64 | armv7 | s390x | i686 | i686-on-x86_64) echo "ChrootDirectory $base/roots/$1" ;;
    nowhere | crammed) echo "SetEnv PATH=$base/path/nowhere" ;;
    perl | picky | sealed) echo "SetEnv PATH=$base/path/perl" ;;
    # By other isolation buildah would set up a network on this machine.
    engines) echo "SetEnv PATH=$base/path/engines:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubeconfig KUBECACHEDIR=/run/kube-cache BUILDAH_ISOLATION=chroot" ;;
    python) echo "SetEnv PATH=$base/path/python" ;;
    esac
}
