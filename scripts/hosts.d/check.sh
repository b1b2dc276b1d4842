# shellcheck shell=sh
# Sees that every host is what the table says. Each probe is one login.

# probe ALIAS STATUS PATTERN [COMMAND [OPTION...]]: ssh's status and its output, newlines made spaces, have to
# match. Where success is expected stdout counts alone, since the machine's own profiles may be noisy; where
# failure is, stderr counts too. Any login shell must understand COMMAND.
probe() {
    probe_as "$1" "$dir/ssh_config" "$@"
}

# The same, run here by the ordinary user with the configuration that it has.
probe_user() {
    probe_as "$1, from ofs-user" "$base/user/ssh_config" "$@"
}

probe_as() {
    count=$((count + 1))
    run_probe "$@" >"$results/$(printf %03d "$count")" 2>"$results/$(printf %03d "$count").stderr" &
    # A few at a time: logins are work for the machine, and the slow probes only wait.
    [ $((count % 12)) != 0 ] || wait
}

run_probe() (
    title=$1 config=$2 alias=$3 expected=$4 pattern=$5 command=${6:-id -un; uname -sm}
    shift 5
    [ $# = 0 ] || shift
    case $title in
    *from*) as='setpriv --reuid=ofs-user --regid=ofs-user --init-groups' ;;
    *) as= ;;
    esac
    status=0
    # shellcheck disable=SC2086 # a list of words
    output=$(
        [ "$expected" = 0 ] || exec 2>&1
        $as timeout 20 ssh -F "$config" "$@" "$alias" "$command" </dev/null
    ) || status=$?
    verdict "$title" "$expected" "$pattern" "$status" "$(printf %s "$output" | tr -s '[:space:]' ' ')"
)

# verdict TITLE EXPECTED-STATUS PATTERN STATUS OUTPUT
verdict() {
    # shellcheck disable=SC2254 # a pattern
    case $4:$5 in
    $2:$3) echo "ok    $1" ;;
    *) printf 'FAIL  %s\n      expected %s: %s\n      got      %s: %.400s\n' "$@" ;;
    esac
}

# These are for the far end to expand.
# shellcheck disable=SC2016
# A line that prints for each place whether a file can be made and run there.
try_places='for d in /dev/shm /tmp /var/tmp "$HOME" .; do
    f=$d/probe.$$; r=unwritable
    if (echo "exit 0" >"$f") 2>/dev/null; then chmod 700 "$f"; r=noexec; "$f" 2>/dev/null && r=exec; rm "$f"; fi
    echo "$r"
done'
try_programs='for c in gzip zstd perl python3; do command -v $c >/dev/null && echo $c; done; echo end'
try_filling='for d in /dev/shm /tmp /var/tmp "$HOME"; do
    mkdir "$d/probe.$$" && head -c 1000000 /dev/zero 2>&1 >"$d/probe.$$/f"; rm -r "$d/probe.$$"
done'

check() {
    if ! all_alive || ! has_view "$dir"; then
        echo "hosts: $dir is not up" >&2
        exit 1
    fi
    results=$(mktemp -d)
    trap 'rm -rf "$results"; kill -CONT "$(cat "$dir/frozen.pid")"' EXIT
    count=0
    check_machine
    check_less
    check_foreign
    check_confined
    check_shells
    check_failures
    check_privileges
    check_engines
    check_boxes
    wait
    check_frozen
    check_unseen
    # A host with several probes is named once for all that were well.
    grep -h '^ok' "$results"/*[!r] | awk '!seen[$0]++'
    failed=$(grep -l '^FAIL' "$results"/*[!r]) || return 0
    for result in $failed; do
        cat "$result"
        [ ! -s "$result.stderr" ] || sed 's/^/      /' "$result.stderr"
    done
    exit 1
}

check_machine() {
    system=$(uname -sm)
    mounts=$(stat -Lc %i /proc/self/ns/mnt)
    # A private namespace is what a locked root costs.
    [ ! -e "$base/etc" ] || mounts='*'
    for alias in here web1 web2 web3 web4 web5 web6 web7 web8 web9 crowd frozen jump-here; do
        probe $alias 0 "root $system $mounts" 'id -un; uname -sm; stat -Lc %i /proc/self/ns/mnt'
    done
    probe here-user 0 "ofs-user $system"
    probe_user here 0 "root $system"
    probe_user here-user 0 "ofs-user $system"
    probe_user jump-here 0 "root $system"
    # What sshd ignores its sessions ignore, and a background job of a script ignores SIGINT.
    probe here 0 'SigIgn: 0000000000000000' 'grep SigIgn /proc/self/status'
}

check_less() {
    probe bare 0 "root $system /bin/busybox /bin/sh /proc/self" \
        'id -un; uname -sm; echo /bin/*; ls -d /proc/self'
    probe bare-user 0 "ofs-user $system /home/ofs-user exec" \
        'id -un; uname -sm; pwd; echo "exit 0" >/tmp/x.$$; chmod 700 /tmp/x.$$; /tmp/x.$$ && echo exec; rm /tmp/x.$$'
    probe_user bare-user 0 "ofs-user $system"
    probe bare-noproc 0 "root $system none 3" \
        'id -un; uname -sm; ls /proc | wc -l | sed s/^0/none/; head -c 3 /dev/zero | gzip | gzip -dc | wc -c'
    probe mini 0 "root $system end /proc/self" "id -un; uname -sm; $try_programs; ls -d /proc/self"
    probe gzip-only 0 "root $system gzip end" "id -un; uname -sm; $try_programs"
}

check_foreign() {
    probe aarch64 0 "root Linux aarch64 /proc/self" 'id -un; uname -sm; ls -d /proc/self'
    probe aarch64-user 0 "ofs-user Linux aarch64"
    probe armv7 0 "root Linux armv7l"
    probe s390x 0 "root Linux s390x"
    # There is nothing on it that is not of 32 bits.
    probe i686 0 "root Linux i686 1" 'id -un; uname -sm; head -c 5 /bin/busybox | tail -c 1 | od -An -tu1'
    probe i686-on-x86_64 0 "root Linux x86_64 1" 'id -un; uname -sm; head -c 5 /bin/busybox | tail -c 1 | od -An -tu1'
}

check_confined() {
    probe noexec-user 0 "ofs-user gone exec noexec noexec noexec noexec" \
        "id -un; [ -e /run/user ] || echo gone; $try_places"
    probe noexec-all-user 0 "ofs-user noexec noexec noexec noexec noexec gzip zstd perl python3 end" \
        "id -un; $try_places; $try_programs"
    probe nowhere-user 0 "ofs-user noexec noexec noexec unwritable unwritable gzip zstd end" \
        "id -un; $try_places; $try_programs"
    probe readonly 0 "root exec unwritable unwritable unwritable unwritable" "id -un; $try_places"
    probe readonly 1 "*Read-only file system*" 'mkdir /probe'
    nothing="ofs-user noexec noexec noexec noexec noexec gzip zstd"
    probe perl-user 0 "$nothing perl end" "id -un; $try_places; $try_programs"
    probe python-user 0 "$nothing python3 end" "id -un; $try_places; $try_programs"
    for host in picky:1 sealed:2; do
        memory=${host#*:}
        [ -e /proc/sys/vm/memfd_noexec ] || memory=
        probe "${host%:*}-user" 0 "$nothing perl end $memory" \
            "id -un; $try_places; $try_programs; cat /proc/sys/vm/memfd_noexec"
    done
    probe immutable-user 0 "ofs-user unwritable unwritable unwritable unwritable unwritable gzip zstd perl python3 end" \
        "id -un; $try_places; $try_programs"
    full='*No space left on device*'
    probe full-user 0 "$full$full$full$full" "$try_filling"
    probe full-user 0 'perl python3' 'cd /; for c in perl python3; do command -v $c >/dev/null && echo $c; done'
    probe crammed-user 0 "$full$full$full$full gzip zstd end" "$try_filling; $try_programs"
    probe half-full-user 0 "$full$full$full" "$try_filling"
    probe half-full-user 0 exec 'echo "exit 0" >x; chmod 700 x; ./x && echo exec; rm x'
    # Seconds, and a week has 604800.
    probe skewed 0 ahead "read up _ </proc/uptime; [ \${up%.*} -gt $((604800 + $(cut -d . -f 1 /proc/uptime))) ] && echo ahead"
    probe few-files 0 64 'ulimit -n'
    probe tight-mask 0 0077 umask
    probe no-home 0 'none ofs-no-home' 'echo ${HOME-none}; id -un'
    probe homeless 0 'gone' 'ls -d $HOME 2>/dev/null || echo gone'
}

check_shells() {
    for shell in bash dash zsh ksh mksh yash csh tcsh fish; do
        id "ofs-$shell" >/dev/null 2>&1 || continue
        # Quotes that every shell takes. The shell is the parent of this sh, since it has an echo to run after it.
        probe shell-$shell 0 "*/*$shell* hi" "sh -c 'readlink /proc/\$PPID/exe'; echo hi"
    done
    probe shell-rbash 1 '*restricted*' 'cd /'

    noise='noise 1 noise 2 *noise 100 noise without an end of line'
    probe noisy 0 "$noise*hi" 'echo hi'
    probe noisy 9 "Welcome to a noisy host*$noise" 'exit 9'
    probe noisy-stderr 0 'hi' 'echo hi'
    probe noisy-stderr 9 "Welcome to a noisy host*$noise" 'exit 9'
}

check_failures() {
    probe refused 255 '*Connection refused*'
    probe unknown-host 255 '*Could not resolve hostname*'
    probe silent 255 '*timed out*' true -o ConnectTimeout=1
    probe wrong-key 255 '*Permission denied (publickey)*'
    probe unknown-hostkey 255 '*Host key verification failed*'
    probe_user unknown-hostkey 255 '*Host key verification failed*'
    probe changed-hostkey 255 '*REMOTE HOST IDENTIFICATION HAS CHANGED*'
    probe exit-at-once 1 ''
    probe nologin 1 '*This account is currently not available*'
    probe sh-exits 0 'login works 3' 'echo login works; sh -c "echo never"; echo $?'
    if id ofs-git >/dev/null 2>&1; then
        probe git-shell 128 "*fatal: unrecognized command 'sh -c true'*" 'sh -c true'
    fi
    probe forced 0 'This key may do one thing*' 'sh -c true'
    probe no-sh 0 '*127*' 'sh -c true; echo $?'
    probe no-uname 0 'head 127' 'head -c 1 /dev/null && echo head; uname 2>/dev/null; echo $?'
    probe no-reader 0 'uname 127 127' 'uname >/dev/null && echo uname; head 2>/dev/null; echo $?; dd 2>/dev/null; echo $?'
    probe short-files 0 100 'ulimit -f'
    probe no-files 0 9 'ulimit -n'
    probe odd-machine 0 'Plan9 vax Plan9 vax' 'uname -sm; uname -s; uname -m'
}

check_privileges() {
    probe nopass 0 'root root' 'sudo -n id -un; doas -n id -un'
    probe strict 1 '*must have a tty*' 'sudo -n id -un'
    probe sudo-rs 1 'sudo-rs *' 'sudo --version; sudo -n true'
    probe sudo-rs-nopass 0 root 'sudo -n id -un'
    probe sudo-rs-norule 1 "*I'm sorry ofs-norule*" 'sudo -n id -un'
    for alias in asked target stars; do
        probe $alias 1 '*a password is required*' 'sudo -n id -un'
    done
    probe one-try 1 '*Ein Passwort ist notwendig*' 'env LC_ALL=de_DE.UTF-8 sudo -n id -un'
    probe asked 1 '*Authentication required*' 'doas -n id -un'
    probe norule 1 '*not permitted*' 'doas -n id -un'
    for alias in ssh-password ssh-questions ssh-both; do
        probe $alias 255 '*Permission denied*' true -o BatchMode=yes
    done
    probe ssh-locked-key 255 '*Permission denied*' true -o BatchMode=yes
}

check_engines() {
    probe engines 0 'root app' 'for c in docker podman; do $c exec app id -un; $c ps --format "{{.Names}}" | grep -x app; done | sort -u -r'
    probe engines 0 "root $system" 'buildah run app-work -- sh -c "id -un; uname -sm"'
    probe engines 0 "root $system" 'kubectl exec web -- sh -c "id -un; uname -sm"'
    probe engines 0 ofs-user 'docker exec app-user id -un'
    probe engines 126 '*executable file not found*' 'docker exec bare sh'
    probe engines 127 '*executable file not found*' 'podman exec bare sh'
    probe engines 127 '*mkdir: not found*' 'docker exec few sh -c "uname; mkdir x"'
    probe engines 127 '*uname: not found*' 'docker exec fewer sh -c uname'
    probe engines 126 '*executable file not found*' 'kubectl exec bare -- sh'
    probe engines 1 '*is paused*' 'docker exec paused id'
    probe engines 1 '*is not running*' 'docker exec stopped id'
    probe engines 255 '*container state improper*' 'podman exec stopped id'
    probe engines 0 'exec' 'docker exec readonly sh -c "cp /bin/busybox /tmp/busybox; /tmp/busybox echo exec; rm /tmp/busybox"'
    probe engines 126 '*ermission denied*' 'docker exec noexec sh -c "echo >/tmp/x; chmod 700 /tmp/x; /tmp/x"'
    if [ "$(uname -m)" = x86_64 ]; then
        probe engines 0 'aarch64' 'docker exec foreign /busybox uname -m'
    fi
    probe engines-user 0 'root root' 'docker exec app id -un; podman exec app id -un'
    probe engines-other 1 '*permission denied*' 'docker exec app id -un'
}

check_boxes() {
    probe boxes 0 'incus lxc lxd machinectl' "echo \$(cat $base/boxes/up)"
    probe boxes 0 'mapped 0 1000000 65536' 'lxc-attach --clear-env --name mapped -- sh -c "hostname; cat /proc/self/uid_map"'
    probe boxes 0 'whole 0 0 4294967295' 'lxc-attach --clear-env --name whole -- sh -c "hostname; cat /proc/self/uid_map"'
    for client in lxc incus; do
        probe boxes 0 'plain 0 1000000 10000000' "$client exec plain -- sh -c 'hostname; cat /proc/self/uid_map'"
        probe boxes 0 STOPPED "$client list stopped -c s -f csv"
    done
    probe boxes 0 'box container systemd-nspawn*' 'machinectl list --no-legend'
    probe boxes-user 0 'ofs-nopass root' 'id -un; sudo -n id -un'
}

# Stopped, it takes connections (the kernel does) and answers nothing; continued, it is well again.
check_frozen() {
    kill -STOP "$(cat "$dir/frozen.pid")"
    probe frozen 255 '*timed out*' true -o ConnectTimeout=1
    wait
    kill -CONT "$(cat "$dir/frozen.pid")"
    probe frozen 0 "root $system"
    wait
}

# What no login shows.
check_unseen() {
    starts=$(/usr/sbin/sshd -T -f "$base/run/crowd.conf" | grep -i '^maxstartups ')
    verdict 'crowd, default MaxStartups' 0 'maxstartups 10:30:100' 0 "$starts" >"$results/998"
    noise=$(timeout 20 ssh -F "$dir/ssh_config" endless true </dev/null 2>/dev/null | head -n 2 | tr '\n' ' ')
    verdict endless 0 'there is no end to this there is no end to this ' 0 "$noise" >"$results/997"
    verdict 'no network of an engine' 0 '' 0 "$(cut -d : -f 1 /proc/net/dev | grep -E 'docker|cni|podman')" >"$results/996"
    verdict 'no mounts on the machine' 0 '' 0 "$(grep "$base" /proc/mounts)" >"$results/999"
}
