# shellcheck shell=sh
# The hosts: the one table from which ssh_config, `list` and the servers are made.

# Prints alias, user, server and special property, separated by tabs. `-` as the server means that we start none.
aliases() {
    tr -s ' ' <<'TABLE' | sed '/^ *\(#.*\)\{0,1\}$/d; s/ /\t/; s/ /\t/; s/ /\t/'
here             root           here        this machine, as root
here-user        ofs-user       here        this machine, as an ordinary user
web1             root           web         this machine, as root: web1 to web9 are one server, for ranges
web2             root           web         this machine, as root
web3             root           web         this machine, as root
web4             root           web         this machine, as root
web5             root           web         this machine, as root
web6             root           web         this machine, as root
web7             root           web         this machine, as root
web8             root           web         this machine, as root
web9             root           web         this machine, as root
crowd            root           crowd       this machine, as root, with the MaxStartups that sshd comes with
penalties        root           penalties   this machine, as root; an sshd of 9.8 or later that refuses addresses (PerSourcePenalties)
frozen           root           frozen      this machine, as root; to be stopped by the pid in DIR/frozen.pid
jump-here        root           here        this machine, as root, reached through web1

bare             root           bare        nothing but a static busybox, with /proc
bare-user        ofs-user       bare        nothing but a static busybox, with /proc, as an ordinary user
bare-noproc      root           bare-noproc nothing but a static busybox, no /proc
mini             root           mini        dash and coreutils: no gzip, zstd, perl, python; with /proc
gzip-only        root           gzip-only   dash, coreutils and gzip: no zstd, perl, python; with /proc

aarch64          root           aarch64     a processor of this kind, by emulation; a static busybox, with /proc
aarch64-user     ofs-user       aarch64     a processor of this kind, by emulation, as an ordinary user
armv7            root           armv7       a processor of this kind, by emulation; a static busybox and a libc, with /proc
s390x            root           s390x       a processor of this kind, whose numbers begin at the other end; likewise
ppc64le          root           ppc64le     a processor of this kind; likewise
riscv64          root           riscv64     a processor of this kind; likewise
i686             root           i686        a kernel that calls itself so; a static busybox of 32 bits, with /proc
i686-on-x86_64   root           i686-on-x86_64 a static busybox of 32 bits on a kernel that calls itself x86_64

noexec-user      ofs-user       noexec      may execute nothing it writes, but in /dev/shm
noexec-all-user  ofs-user       noexec-all  may execute nothing it writes; has perl and python3
nowhere-user     ofs-user       nowhere     may execute nothing it writes, cannot write to home, finds no perl or python3
readonly         root           readonly    everything is read-only, but /dev/shm
immutable-user   ofs-user       immutable   everything is read-only, /dev/shm too; has perl and python3
perl-user        ofs-user       perl        may execute nothing it writes; has perl, and no python3
python-user      ofs-user       python      may execute nothing it writes; has python3, and no perl
picky-user       ofs-user       picky       as perl-user, and vm.memfd_noexec is 1, so memory has to be asked for with a flag
sealed-user      ofs-user       sealed      as perl-user, and vm.memfd_noexec is 2, so memory may not be executed either
full-user        ofs-user       full        every writable place is full: mkdir succeeds, 1 MB does not fit; has perl and python3
crammed-user     ofs-user       crammed     as full-user, but finds no perl or python3
half-full-user   ofs-user       half-full   the places are full: mkdir succeeds, 1 MB does not fit; but home is not
skewed           root           skewed      this machine, as root; its monotonic clock is a week ahead

shell-bash       ofs-bash       here        login shell bash
shell-rbash      ofs-rbash      here        login shell rbash, which forbids much
shell-dash       ofs-dash       here        login shell dash
shell-zsh        ofs-zsh        here        login shell zsh
shell-ksh        ofs-ksh        here        login shell ksh93
shell-mksh       ofs-mksh       here        login shell mksh
shell-yash       ofs-yash       here        login shell yash
shell-csh        ofs-csh        here        login shell bsd-csh
shell-tcsh       ofs-tcsh       here        login shell tcsh
shell-fish       ofs-fish       here        login shell fish
noisy            ofs-noisy      here        a banner; profiles print 100 lines and a part of one to stdout
noisy-stderr     ofs-noisy-err  here        a banner; profiles print 100 lines and a part of one to stderr

nopass           ofs-nopass     priv        sudo and doas ask for nothing
asked            ofs-asked      priv        sudo and doas ask for its own password each time
target           ofs-target     priv        sudo asks for the password of the target
strict           ofs-strict     priv        sudo asks for nothing, wants a terminal, runs in another, and records
stars            ofs-stars      priv        sudo asks in its own words and shows a star for each character
norule           ofs-norule     priv        sudo and doas allow nothing
one-try          ofs-one-try    priv        sudo and doas ask for its own password, and sudo once only
noexec           ofs-noexec     priv        sudo asks for nothing, and lets no program execute another one
intercept        ofs-intercept  priv        sudo asks for nothing, and checks each program that another one executes
traced           ofs-traced     priv        the same, by tracing them
recorded         ofs-recorded   priv        sudo asks for nothing, and records what is printed (log_output)
few-commands     ofs-few-cmds   priv        sudo asks for nothing for one command, which is no shell
sudo-rs-few      ofs-few-cmds   sudo-rs     sudo is the one in Rust, and asks for its own password each time
sudo-rs          ofs-asked      sudo-rs     sudo is the one in Rust, and asks for its own password each time
sudo-rs-nopass   ofs-nopass     sudo-rs     sudo is the one in Rust, and asks for nothing
sudo-rs-norule   ofs-norule     sudo-rs     sudo is the one in Rust, and allows nothing
ssh-password     ofs-asked      password    asks for a password, without PAM
ssh-questions    ofs-asked      questions   asks questions (keyboard-interactive), by PAM
ssh-both         ofs-asked      both        wants a key and then a password
ssh-locked-key   ofs-locked     here        our key for it has a passphrase
few-files        ofs-files      here        may open 64 files
tight-mask       ofs-mask       here        umask 077
no-home          ofs-no-home    here        the variable HOME is not set
homeless         ofs-homeless   here        the home directory does not exist

engines          root           engines     docker, podman, buildah, kubectl and containers, as root
engines-user     ofs-user       engines     the same, as one who may use docker, and has a podman of its own
engines-nopass   ofs-nopass     engines     the same, as one who may become root
engines-other    ofs-bash       engines     the same, as one who may not use docker
boxes            root           boxes       lxc, lxd, incus and machinectl with containers, and slurm, as root
boxes-user       ofs-nopass     boxes       the same, as one who may become root

refused          root           -           nobody listens
unknown-host     root           -           a name that does not resolve
silent           root           -           accepts connections and never says a word
wrong-key        ofs-wrong-key  here        does not accept our key
unknown-hostkey  root           here        a host key that is in no known_hosts
changed-hostkey  root           here        another host key than the one in known_hosts
exit-at-once     ofs-false      here        login shell /bin/false
nologin          ofs-nologin    here        login shell nologin, which says so and exits 1
sh-exits         ofs-sh-exits   here        good login shell, but the sh in PATH exits at once with status 3
odd-machine      ofs-odd        here        uname says Plan9 vax
git-shell        ofs-git        here        login shell git-shell, which runs git and nothing else
forced           ofs-forced     here        the key is bound to a command of its own
endless          ofs-endless    here        the profile prints without end
no-sh            ofs-no-sh      here        there is no sh in PATH
no-uname         ofs-no-uname   here        there is no uname in PATH
no-reader        ofs-no-reader  here        there is no head and no dd in PATH
short-files      ofs-short      here        files may have 100 KiB (ulimit -f)
no-files         ofs-no-files   here        may open 9 files
account-expired  ofs-gone       pam         the account has expired
password-expired ofs-stale      pam         the password has to be changed first
no-logins        ofs-user       closed      /etc/nologin is there
too-many-logins  ofs-too-many   pam         may have no session (maxlogins of pam_limits)
one-process      ofs-one-proc   pam         may have one process, which is that of sshd (nproc of pam_limits)
two-processes    ofs-two-procs  pam         may have two processes, of which the shell cannot start a third
no-sessions      root           no-sessions lets users in and gives them no session (MaxSessions)
script           ofs-script     here        all sessions are recorded by a program with a terminal (ForceCommand)
no-session       root           here        ssh_config asks for no session (SessionType)
no-input         root           here        ssh_config gives the session no input (StdinNull)
TABLE
}

# Prints each server of the table once.
servers() {
    aliases | cut -f 3 | grep -vx -e - | sort -u
}
