# shellcheck shell=sh
# What a user of the hosts gets: a directory with ssh_config, keys and env. $base/views names them all.

# Prints the views that are still there.
views() {
    [ -e "$base/views" ] || return 0
    while read -r view; do
        [ ! -e "$view/ssh_config" ] || echo "$view"
    done <"$base/views"
}

has_view() {
    views | grep -qxF "$1" && [ -r "$1/env" ]
}

add_view() {
    publish "$1" "$owner"
    ln -sfn "$base/user" "$1/user"
    cut -d ' ' -f 1 "$base/run/frozen.pid" >"$1/frozen.pid"
    # To be read by a shell, or line by line: no value holds a quote.
    cat >"$1/env" <<ENV
OFS_HOSTS_DIR='$1'
OFS_SSH_CONFIG='$1/ssh_config'
OFS_FROZEN_PID_FILE='$1/frozen.pid'
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
OFS_BUSYBOX_SU='$base/bin/su'
OFS_ENGINES='$base/engines/bin'
ENV
    chown -h "$owner" "$1/user" "$1/frozen.pid" "$1/env"
    { views && echo "$1"; } | sort -u >"$base/views.new"
    mv "$base/views.new" "$base/views"
}

rm_view() {
    [ -d "$1" ] || return 0
    (cd "$1" && rm -f id locked ssh_config known_hosts known_hosts.none known_hosts.changed env frozen.pid user)
    rmdir "$1" 2>/dev/null || :
}

# publish DIR OWNER: a complete client configuration that works for that user.
publish() {
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
        echo "[$(cat "$base/run/$server.address")]:$(cat "$base/run/$server.port") $(cut -d ' ' -f 1,2 "$base/$1.pub")"
    done
}

# ssh takes the first value it meets, so what is special to a host comes before what is common to all.
ssh_config() {
    echo "# Written by scripts/hosts; gone after scripts/hosts down."
    aliases | while IFS='	' read -r alias user server about; do
        id "$user" >/dev/null 2>&1 || continue
        echo
        echo "# $about"
        echo "Host $alias"
        echo "    User $user"
        case $alias in
        silent) server=silent ;;
        # Port 1 is below what the kernel gives to anybody, and tcpmux is not served on this address.
        refused) printf '    HostName 127.0.0.9\n    Port 1\n' ;;
        unknown-host) echo '    HostName does-not-exist.invalid' ;;
        unknown-hostkey)
            printf '    BatchMode yes\n    StrictHostKeyChecking ask\n    UserKnownHostsFile "%s"\n' "$1/known_hosts.none"
            ;;
        changed-hostkey) echo "    UserKnownHostsFile \"$1/known_hosts.changed\"" ;;
        jump-here) echo '    ProxyJump web1' ;;
        ssh-password | ssh-questions) echo '    PreferredAuthentications password,keyboard-interactive' ;;
        ssh-both) echo '    PreferredAuthentications publickey,password' ;;
        ssh-locked-key) echo "    IdentityFile \"$1/locked\"" ;;
        esac
        [ "$server" = - ] || cat <<HOST
    HostName $(cat "$base/run/$server.address")
    Port $(cat "$base/run/$server.port")
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
