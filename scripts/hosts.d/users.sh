# shellcheck shell=sh
# The accounts that the hosts log in to. Their homes are below $base.

# Prints user and login shell, for each shell that this system has.
users() {
    awk 'NF == 2' <<USERS
ofs-user      /bin/bash
ofs-bash      /bin/bash
ofs-rbash     /bin/rbash
ofs-dash      /bin/dash
ofs-zsh       $(command -v zsh)
ofs-ksh       $(command -v ksh93)
ofs-mksh      $(command -v mksh)
ofs-yash      $(command -v yash)
ofs-csh       $(command -v bsd-csh)
ofs-tcsh      $(command -v tcsh)
ofs-fish      $(command -v fish)
ofs-noisy     /bin/bash
ofs-noisy-err /bin/bash
ofs-wrong-key /bin/bash
ofs-false     /bin/false
ofs-nologin   $(command -v nologin)
ofs-sh-exits  /bin/bash
ofs-odd       /bin/bash
ofs-nopass    /bin/bash
ofs-asked     /bin/bash
ofs-target    /bin/bash
ofs-strict    /bin/bash
ofs-stars     /bin/bash
ofs-norule    /bin/bash
ofs-one-try   /bin/bash
ofs-expired   /bin/bash
ofs-noexec    /bin/bash
ofs-intercept /bin/bash
ofs-traced    /bin/bash
ofs-recorded  /bin/bash
ofs-few-cmds  /bin/bash
ofs-gone      /bin/bash
ofs-stale     /bin/bash
ofs-too-many  /bin/bash
ofs-one-proc  /bin/bash
ofs-two-procs /bin/bash
ofs-script    /bin/bash
ofs-locked    /bin/bash
ofs-files     /bin/bash
ofs-mask      /bin/bash
ofs-no-home   /bin/bash
ofs-homeless  /bin/bash
ofs-git       $(command -v git-shell)
ofs-forced    /bin/bash
ofs-endless   /bin/bash
ofs-no-sh     /bin/bash
ofs-no-uname  /bin/bash
ofs-no-reader /bin/bash
ofs-short     /bin/bash
ofs-no-files  /bin/bash
USERS
}

add_users() {
    users | while read -r user shell; do
        # The password is `*`. Without PAM, sshd takes the `!` of useradd for a locked account and refuses keys too.
        # `-K`: no ranges of subordinate ids. Container engines of the machine would fail on them.
        useradd --no-create-home --no-log-init --user-group --password '*' \
            -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 --home-dir "$base/home/$user" --shell "$shell" "$user"
        install -d -m 700 -o "$user" -g "$user" "$base/home/$user"
    done
    rmdir "$base/home/ofs-homeless"
    echo 'ulimit -n 64' >"$base/home/ofs-files/.bashrc"
    echo 'ulimit -n 9' >"$base/home/ofs-no-files/.bashrc"
    echo 'ulimit -f 100' >"$base/home/ofs-short/.bashrc"
    echo 'umask 077' >"$base/home/ofs-mask/.bashrc"
    echo 'while echo "there is no end to this"; do :; done' >"$base/home/ofs-endless/.bashrc"
    add_noise ofs-noisy ''
    add_noise ofs-noisy-err '>&2'
}

# Debian's bash reads .bashrc for a command that comes by ssh, and .profile if it is a login shell.
add_noise() {
    for profile in .bashrc .profile; do
        cat >"$base/home/$1/$profile" <<NOISE
{
    for i in \$(seq 100); do echo "noise \$i"; done
    printf 'noise without an end of line'
} $2
NOISE
    done
}
