# shellcheck shell=sh
# Starts the sshd of each host, and one listener that is not sshd. Each has its own address on the loopback network, in
# $base/run/NAME.address. $base/run/NAME.pid contains the pid and the time when it began.

# Not the port of ssh, because ssh leaves that port out of much of its output.
port=2222

make_openssh() {
    mkdir "$base/openssh"
    cp -a "$store/openssh" "$base/openssh/usr"
    chown -R root:root "$base/openssh"
}

start_servers() {
    ssh-keygen -q -t ed25519 -N '' -C offshoot-test-client -f "$base/id"
    ssh-keygen -q -t ed25519 -N '' -C offshoot-test-host -f "$base/hostkey"
    ssh-keygen -q -t ed25519 -N '' -C offshoot-test-other-host -f "$base/otherkey"
    ssh-keygen -q -t ed25519 -N "$passphrase" -C offshoot-test-locked -f "$base/locked"
    cp "$base/id.pub" "$base/authorized_keys"
    printf 'Welcome to a noisy host.\n\nEverything you do\n\tis printed twice.\n' >"$base/banner"

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
        bind $listener, pack_sockaddr_in $ARGV[0], inet_aton "127.0.0.10" or die "bind: $!";
        listen $listener, 128 or die "listen: $!";
        my @held;
        while (accept my $connection, $listener) {
            push @held, $connection;
            shift @held if @held > 500;
        }
    ' $port
    echo 127.0.0.10 >"$base/run/silent.address"

    start_boxes
    for server in $(servers); do
        wait_for_server "$server"
    done
}

is_machine() {
    case $1 in here | web | crowd | frozen | no-sessions) ;; *) return 1 ;; esac
}

start_server() {
    # `-e`, not `-E`: sshd could not open its log on a read-only host.
    set -- "$1" /usr/sbin/sshd -D -e -f "$base/run/$1.conf" -p $port
    # Hosts that are this machine have no namespace of their own. Tests could notice one.
    if is_machine "$1"; then
        start "$@"
    else
        start "$1" unshare --mount "$here/host" "$base" "$@"
    fi
}

# start NAME COMMAND...: runs it in the background, detached from this script and its terminal.
start() {
    name=$1
    shift
    # A background job of a script ignores SIGINT, and every remote command would inherit that. env undoes it.
    setsid env -i --default-signal -C / PATH="$PATH" ${HOSTS_MARK:+HOSTS_MARK="$HOSTS_MARK"} "$@" \
        </dev/null >/dev/null 2>>"$base/log/$name" &
    echo "$! $(cut -d ' ' -f 22 /proc/$!/stat)" >"$base/run/$name.pid"
}

wait_for_server() {
    tries=0
    until listens "$1"; do
        [ $tries -lt 500 ] || { echo "hosts: $1 does not listen" >&2 && return 1; }
        sleep 0.02
        tries=$((tries + 1))
    done
}

# Asks the kernel, because a connection would count as a failed login.
listens() {
    address=$(cat "$base/run/$1.address")
    hex=$(printf '%02X00007F:%04X' "${address##*.}" $port)
    grep -q ": $hex 00000000:0000 0A" /proc/net/tcp
}

# The authentication of a server.
asking() {
    case $1 in
    password) printf 'PasswordAuthentication yes\nKbdInteractiveAuthentication no\nPubkeyAuthentication no\nUsePAM no\n' ;;
    questions) printf 'PasswordAuthentication no\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no\nUsePAM yes\n' ;;
    both) printf 'PasswordAuthentication yes\nAuthenticationMethods publickey,password\nUsePAM no\n' ;;
    pam | closed) printf 'PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM yes\n' ;;
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
    # Two servers have the limits that sshd comes with.
    case $1 in
    crowd | penalties) ;;
    *) echo 'MaxStartups 500:30:1000' ;;
    esac
    # Since 9.8, a server refuses an address for a while after failed logins. Here all users have the same address.
    if [ "$1" != penalties ] &&
        /usr/sbin/sshd -T -f /dev/null -h "$base/hostkey" 2>/dev/null | grep -q '^persourcepenalties '; then
        echo 'PerSourcePenalties no'
    fi
    case $1 in
    penalties) printf 'Match User ofs-wrong-key\n    AuthorizedKeysFile none\n' ;;
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
Match User ofs-script
    ForceCommand script -qec "\$SSH_ORIGINAL_COMMAND" /dev/null
Match User ofs-forced
    ForceCommand echo "This key may do one thing, and this is it."
CONF
        ;;
    bare | bare-noproc | mini | gzip-only | aarch64 | armv7 | s390x | ppc64le | riscv64 | i686 | i686-on-x86_64) echo "ChrootDirectory $base/roots/$1" ;;
    nowhere | crammed) echo "SetEnv PATH=$base/path/nowhere" ;;
    perl | picky | sealed) echo "SetEnv PATH=$base/path/perl" ;;
    # With another isolation, buildah would set up a network on this machine.
    engines) echo "SetEnv PATH=$base/path/engines:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubeconfig KUBECACHEDIR=/run/kube-cache BUILDAH_ISOLATION=chroot" ;;
    python) echo "SetEnv PATH=$base/path/python" ;;
    no-sessions) echo 'MaxSessions 0' ;;
    esac
}

# The files that root and the ordinary user need to reach the hosts.
publish() {
    publish_for "$base/root" root
    publish_for "$base/user" ofs-user
    cut -d ' ' -f 1 "$base/run/frozen.pid" >"$base/root/frozen.pid"
    # Read by a shell, or line by line. No value contains a quote.
    cat >"$base/root/env" <<ENV
OFS_HOSTS_DIR='$base/root'
OFS_SSH_CONFIG='$base/root/ssh_config'
OFS_FROZEN_PID_FILE='$base/root/frozen.pid'
OFS_USER='ofs-user'
OFS_USER_DIR='$base/user'
OFS_USER_SSH_CONFIG='$base/user/ssh_config'
OFS_ROOTS='$base/roots'
OFS_HOMES='$base/home'
OFS_RUN='$base/run'
OFS_PASSWORD='$password'
OFS_ROOT_PASSWORD='$root_password'
OFS_PASSPHRASE='$passphrase'
OFS_BOXES='$(cat "$base/boxes/up")'
OFS_JOB='$(cat "$base/boxes/slurm")'
OFS_BUSYBOX_SU='$base/bin/su'
OFS_ENGINES='$base/engines/bin'
OFS_ANSIBLE='$store/ansible'
ENV
}

# publish_for DIR OWNER: writes a complete client configuration for that user.
publish_for() {
    install -d -o "$2" "$1"
    install -m 600 "$base/id" "$1/id"
    install -m 600 "$base/locked" "$1/locked"
    known_hosts hostkey >"$1/known_hosts"
    known_hosts otherkey >"$1/known_hosts.changed"
    : >"$1/known_hosts.none"
    ssh_config "$1" >"$1/ssh_config"
    chown "$2" "$1/id" "$1/locked" "$1/known_hosts" "$1/known_hosts.changed" "$1/known_hosts.none" "$1/ssh_config"
}

known_hosts() {
    for server in $(servers); do
        echo "[$(cat "$base/run/$server.address")]:$port $(cut -d ' ' -f 1,2 "$base/$1.pub")"
    done
}

# ssh uses the first value that it finds, so the settings of one host come before the common ones.
ssh_config() {
    echo "# Written by scripts/hosts; gone with the hosts."
    aliases | while IFS='	' read -r alias user server about; do
        id "$user" >/dev/null 2>&1 || continue
        echo
        echo "# $about"
        echo "Host $alias"
        echo "    User $user"
        case $alias in
        silent) server=silent ;;
        # The kernel gives no process a port below 1024 by itself, and nothing serves port 1 (tcpmux) on this address.
        refused) printf '    HostName 127.0.0.9\n    Port 1\n' ;;
        unknown-host) echo '    HostName does-not-exist.invalid' ;;
        unknown-hostkey)
            printf '    BatchMode yes\n    StrictHostKeyChecking ask\n    UserKnownHostsFile "%s"\n' "$1/known_hosts.none"
            ;;
        changed-hostkey) echo "    UserKnownHostsFile \"$1/known_hosts.changed\"" ;;
        jump-here) echo '    ProxyJump web1' ;;
        no-session) echo '    SessionType none' ;;
        no-input) echo '    StdinNull yes' ;;
        ssh-password | ssh-questions) echo '    PreferredAuthentications password,keyboard-interactive' ;;
        ssh-both) echo '    PreferredAuthentications publickey,password' ;;
        ssh-locked-key) echo "    IdentityFile \"$1/locked\"" ;;
        esac
        [ "$server" = - ] || cat <<HOST
    HostName $(cat "$base/run/$server.address")
    Port $port
HOST
    done
    cat <<COMMON

Host *
    IdentityFile "$1/id"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile "$1/known_hosts"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    PreferredAuthentications publickey
COMMON
}
