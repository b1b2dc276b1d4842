//! What `--help` shows besides the options.

pub(super) const RUN_USAGE: &str = "offshoot run [OPTIONS] -w HOSTS [--] CMD [ARG]...
       offshoot run [OPTIONS] -w HOSTS -s LINE";

pub(super) const SCRIPT_USAGE: &str = "offshoot script [OPTIONS] -w HOSTS FILE [ARG]...";

pub(super) const SCRIPT_FEW_EXAMPLES: &str = "\
Examples:
  offshoot script -w 'web[1-9]' deploy.sh v1.2
  echo 'cd /srv && ls' | offshoot script -w web1 -";

pub(super) const SCRIPT_EXAMPLES: &str = "\
The first line of the script names the program that runs it, as #!/usr/bin/env python3. Without
such a line sh runs it. Stdin goes to every script, unless FILE is -.

Examples:
  offshoot script -w 'web[1-9]' deploy.sh v1.2
  offshoot script -w 'web[1-9]/sudo' -t 5m ./audit.py --all
  echo 'cd /srv && ls' | offshoot script -w web1 -";

pub(super) const PUSH_USAGE: &str = "offshoot push [OPTIONS] -w HOSTS SRC... DST";

pub(super) const PUSH_FEW_EXAMPLES: &str = "\
Examples:
  offshoot push -w 'web[1-9]' app.conf /etc/app.conf
  offshoot push -w 'web[1-9]' -b --delete --exclude '*.tmp' site /srv/site";

pub(super) const PUSH_HELP: &str = "\
DST is the name of the copy. If it ends with /, or if there are several SRC, it is the directory
that gets them; it is made if it is missing. SRC/ stands for what is in the directory SRC. A file
gets its name when it is complete. A second push sends what differs, and goes on with large files.

Examples:
  offshoot push -w 'web[1-9]' app.conf /etc/app.conf
  offshoot push -w 'web[1-9]' -b --delete --exclude '*.tmp' site /srv/site
  offshoot push -w bastion/web1/docker:app --dry-run bin lib /opt/app/";

pub(super) const PULL_USAGE: &str = "offshoot pull [OPTIONS] -w HOSTS SRC... DIR";

pub(super) const PULL_FEW_EXAMPLES: &str = "\
Examples:
  offshoot pull -w 'web[1-9]' /etc/nginx /var/log/nginx/error.log from-hosts";

pub(super) const PULL_HELP: &str = "\
What comes from the host web1 is in DIR/web1. SRC/ stands for what is in the directory SRC. The
copies belong to you. Nothing is written outside of DIR, whatever a host sends.

Examples:
  offshoot pull -w 'web[1-9]' /etc/nginx /var/log/nginx/error.log from-hosts
  offshoot pull -w db1/sudo --bwlimit 10M /var/backups/ backups";

pub(super) const SHELL_USAGE: &str = "offshoot shell [OPTIONS] HOST [-- CMD [ARG]...]";

pub(super) const SHELL_HELP: &str = "\
At the start of a line, ~. leaves the shell and ends it, ~^Z suspends the tool, ~? lists this.
TERM, LANG and LC_* are set there as here. The tool ends with the exit code of the shell.

Examples:
  offshoot shell web1
  offshoot shell bastion/web1/sudo
  offshoot shell web1/docker:app -- psql -U app";

pub(super) const CALL_USAGE: &str = "offshoot call [OPTIONS] -w HOSTS FUNCTION [JSON-ARGS]";

pub(super) const FEW_EXAMPLES: &str = "\
Examples:
  offshoot run -w web1,web2 -- uptime
  offshoot run -w 'bastion/web[01-40]/sudo' -t 30s -- systemctl restart nginx";

pub(super) const EXAMPLES: &str = "\
Examples:
  offshoot run -w web1,web2 -- uptime
  offshoot run -w 'bastion/web[01-40]/sudo' -t 30s -- systemctl restart nginx

Exit codes: 0 all succeeded; added up: 2 failed, 4 unreachable, 8 stopped early;
  64 usage, 66 no hosts, 70 internal, 129 hung up, 130 interrupted, 143 terminated";

pub(super) const RUN_FEW_EXAMPLES: &str = "\
Examples:
  offshoot run -w web1,web2 -- uptime
  offshoot run -w 'web[1-9]' -bK -s 'cd /srv && git pull'";

pub(super) const RUN_EXAMPLES: &str = "\
Stdin goes to every command, as with ssh. In a shell loop that reads stdin, write -n.

Examples:
  offshoot run -w web1,web2 -- uptime
  offshoot run -w 'deploy@web[1-9]:2222/sudo' -t 5m -- apt-get -y upgrade
  offshoot run -w 'web[1-9]' -bK -- apt-get -y upgrade
  offshoot run -w '^hosts.txt!db1' --via bastion -f 100 -s 'uname -a; id'
  offshoot run -w 'local[1-3]' -e GREETING=hello -s 'echo $GREETING'
  offshoot run -w web1/docker:app -C /srv --json -- ls -l";

pub(super) const CALL_EXAMPLES: &str = "\
Examples:
  offshoot call -w 'web[1-3]' host_facts
  offshoot call -w bastion/db1 --jsonl -t 5s facts::host_facts
  offshoot functions";

pub(super) const HOSTS_EXAMPLES: &str = "\
Examples (offshoot help hosts has more about expressions):
  offshoot hosts 'web[01-03]!web02'
  offshoot hosts -I prod/hosts.yml --explain '@web'";

pub(super) const HOSTS_HELP: &str = "\
Expressions:
  web1,web2               a list
  web[01-40,50] n[1-9/2]  numbers, with steps; rack[1-4]n[1-20] combines them
  a!b  a&b  a^b           in a but not in b, in both, in one only; left to right,
                          each up to the next comma
  @web  @rack:r1          a group of the inventory; @all, @failed
  web*  db?  @*           hosts of the inventory with such names; all
  ^file  -                from a file, from stdin
  deploy@web1:2222        by ssh; [fe80::1]:22 is an address
  bastion/web1/sudo:root/docker:app
                          hop by hop: METHOD:TARGET/METHOD:TARGET..., where
                          METHOD is one of local fork ssh sudo su doas docker
                          podman buildah kubectl lxc lxd incus jail setns
  local[1-3]              children on this machine
  docker:{registry/app:1} braces keep a name together

Examples:
  offshoot hosts 'web[01-03]!web02'
  offshoot hosts --count 'web[1-99]&^up.txt'
  sort -u hosts.txt | offshoot hosts --fold -
  offshoot hosts -I prod/hosts.yml --explain '@web'";
