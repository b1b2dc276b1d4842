# shellcheck shell=sh
# Processes that `up` started. $base/run/NAME.pid holds the pid and when it started, since a pid by itself
# may belong to somebody else by now.

# start NAME COMMAND...: runs it in the background, apart from this script and its terminal.
start() {
    name=$1
    shift
    # A background job of a script ignores SIGINT, and so would every remote command: env undoes that.
    setsid env -i --default-signal -C / PATH="$PATH" "$@" </dev/null >/dev/null 2>>"$base/log/$name" 9<&- &
    echo "$! $(start_time $!)" >"$base/run/$name.pid"
}

# start_time PID: fails when there is none, or it has ended and nobody has reaped it yet.
start_time() (
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The second field is the name in parentheses, and may hold anything.
    # shellcheck disable=SC2086 # a list of words
    set -- ${stat##*) }
    [ "$1" != Z ] && echo "${20}"
)

alive() (
    read -r pid started <"$base/run/$1.pid" && now=$(start_time "$pid") && [ "$now" = "$started" ]
) 2>/dev/null

all_alive() {
    [ -e "$base/up" ] || return 1
    for file in "$base"/run/*.pid; do
        file=${file##*/}
        alive "${file%.pid}" || return 1
    done
}

# Prints the pids of those that are alive.
ours() {
    for file in "$base"/run/*.pid; do
        name=${file##*/}
        name=${name%.pid}
        ! alive "$name" || cut -d ' ' -f 1 "$file"
    done
}

# below PID...: these and all that descend from them.
below() {
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        rest=${line##*) }
        rest=${rest#* }
        echo "${line%% *} ${rest%% *}"
    done | awk -v roots="$*" '
        { parent[$1] = $2 }
        END {
            split(roots, list, " ")
            for (i in list) found[list[i]] = 1
            do {
                more = 0
                for (pid in parent) if (!(pid in found) && parent[pid] in found) { found[pid] = 1; more = 1 }
            } while (more)
            for (pid in found) print pid
        }'
}

# Prints the pids of all processes of our users, who did not exist before us.
of_our_users() {
    uids=$(for user in $(our_users); do printf '%s|' "$(id -u "$user")"; done)
    [ -z "$uids" ] || grep -sE "^Uid:.*[[:space:]](${uids%|})[[:space:]]" /proc/[0-9]*/status | cut -d / -f 3
}

# Ends the servers with every session of theirs, and what our users left running.
stop_all() {
    # Stopped first, so that no connection is taken while their descendants are counted.
    # shellcheck disable=SC2046 # lists of words
    {
        set -- $(ours)
        [ $# = 0 ] || kill -STOP "$@"
        set -- $([ $# = 0 ] || below "$@") $(of_our_users)
    }
    [ $# = 0 ] || kill -KILL "$@" 2>/dev/null || :
    for pid; do
        wait_for_end "$pid"
    done
}

wait_for_end() {
    tries=0
    while start_time "$1" >/dev/null && [ $tries -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
}
