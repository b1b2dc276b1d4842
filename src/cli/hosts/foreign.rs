//! Files of other tools that name hosts in their own formats. As lists of hosts, their settings would become
//! hosts. So they are refused with an error that names the format.

use std::net::IpAddr;

use crate::cli::hosts::expression_error::{Fault, Span};

/// Checks a line of a file, without its comment. The error names the format if the line is not from a list of
/// hosts.
pub(crate) fn recognise(line: &str) -> Result<(), Fault> {
    let text = line.trim();
    let Some((format, remedy)) = format(text) else {
        return Ok(());
    };
    let message = format!(
        "this looks like a line of {format}, which is not read here; {remedy}; \
         a list has names only, with blanks, commas or line ends between"
    );
    let at = line.len() - line.trim_start().len();
    Err(Fault::syntax(Span::new(at, text.len()), message))
}

const ANSIBLE: (&str, &str) = ("an Ansible inventory", "name it with -I FILE, and hosts of it with -w '@GROUP' or -a");
const KNOWN_HOSTS: (&str, &str) = ("a known_hosts file", "write the names alone");
const SSH_CONFIG: (&str, &str) = (
    "an ssh_config",
    "pass the file to ssh with -F FILE, and name hosts of it with -w; -I ssh_config:FILE is for wildcards",
);
const MPI: (&str, &str) =
    ("an MPI hostfile", "take the first word of each line: awk '{print $1}' FILE | offshoot ... -w -");
const GENDERS: (&str, &str) =
    ("a genders file", "name it with -I genders:FILE, and hosts of it with -w '@ATTRIBUTE' or -a");
const PSSH: (&str, &str) = ("a pssh host file", "write the user in front: USER@HOST:PORT");
const NAMES_AND_USERS: (&str, &str) = (
    "a pssh host file (a host and its user)",
    "write the user in front, as root@web1, or one host a line if both words are hosts",
);
/// Names of accounts that are on many systems, and of few hosts. In a list of hosts, `web1 root` is two hosts; in a
/// file of pssh it is one.
const USERS: [&str; 11] =
    ["root", "admin", "ubuntu", "ec2-user", "debian", "centos", "fedora", "rocky", "vagrant", "ansible", "deploy"];
const ETC_HOSTS: (&str, &str) = (
    "a hosts file as /etc/hosts",
    "take the names: awk '{print $2}' FILE | offshoot ... -w -, or write one host a line",
);

const JSON: (&str, &str) =
    ("JSON", "if it is an inventory, name it with -I FILE; else write the names alone, for instance with jq -r");
const GROUPS: (&str, &str) =
    ("a file of groups, as clush's or YAML", "name it with -I FILE, and hosts of it with -w '@GROUP' or -a");
const NETRC: (&str, &str) = ("a .netrc", "write the names behind `machine` alone");
const CSV: (&str, &str) = ("a table, as CSV", "take the column of names: cut -d, -f1 FILE | offshoot ... -w -");
const REVERSED: (&str, &str) = (
    "a table of names and addresses",
    "take one of them: awk '{print $1}' FILE | offshoot ... -w -; if both are hosts, write one a line",
);
const SLOTS: (&str, &str) = (
    "a list of machines with slots, as MPI and PBS have",
    "take the names: sed 's/[: ].*//' FILE | offshoot ... -w -; a port of ssh is written as node1:22, and one below 22 \
     is taken with -p",
);
const SLURM: (&str, &str) = (
    "a slurm.conf",
    "ask Slurm itself: sinfo -hN -o %N | offshoot ... -w -, or make it a source of groups (offshoot help inventory)",
);
const LISTING: (&str, &str) = (
    "a table that a command has printed",
    "have it print names alone: docker ps --format '{{.Names}}', kubectl get pods -o name, sinfo -hN -o %N; or take \
     one column: awk 'NR>1 {print $1}' FILE | offshoot ... -w -",
);
/// Titles of tables that docker, podman, kubectl, lxc, machinectl, virsh and Slurm print.
const LISTED: [&str; 12] = [
    "NAME",
    "NAMES",
    "NAMESPACE",
    "IMAGE",
    "ID",
    "STATUS",
    "STATE",
    "MACHINE",
    "PARTITION",
    "JOBID",
    "NODELIST",
    "NODE",
];
/// A smaller number after a host is its number of processors, not a port of ssh.
const LEAST_PORT: u16 = 22;

fn format(text: &str) -> Option<(&'static str, &'static str)> {
    let words: Vec<&str> = text.split_whitespace().take(4).collect();
    let (first, others) = words.split_first()?;
    if is_json(text) {
        return Some(JSON);
    }
    if is_listing(&words) {
        return Some(LISTING);
    }
    // Text in braces is a name, whatever it contains.
    if text.contains('{') {
        return None;
    }
    if is_section(text) || text == "---" || text.starts_with("- ") || is_yaml_key(text) {
        return Some(ANSIBLE);
    }
    if !others.is_empty() && is_yaml_key(first) {
        return Some(GROUPS);
    }
    if (*first == "machine" && matches!(others, [_] | [_, "login" | "account" | "password", ..]))
        || matches!(
            text.split_whitespace().collect::<Vec<_>>()[..],
            ["default" | "login", _, "password", _] | ["default", "login", ..]
        )
    {
        return Some(NETRC);
    }
    if is_table(text) {
        return Some(CSV);
    }
    let is_mark = |word: &&str| matches!(*word, "@cert-authority" | "@revoked");
    let is_key_type = |word: &&str| {
        ["ssh-rsa", "ssh-dss", "ssh-ed25519", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]
            .iter()
            .any(|kind| word.starts_with(kind))
    };
    if first.starts_with("|1|") || (!others.is_empty() && is_mark(first)) || others.iter().take(2).any(is_key_type) {
        return Some(KNOWN_HOSTS);
    }
    if !others.is_empty() && is_keyword(first) {
        return Some(SSH_CONFIG);
    }
    let Some(setting) = text.split_whitespace().find(|word| word.contains('=')) else {
        return match others {
            [second] if has_port(first) && second.bytes().all(|b| b.is_ascii_alphabetic() || b"_-".contains(&b)) => {
                Some(PSSH)
            }
            [second] if USERS.contains(second) && is_host(first) => Some(NAMES_AND_USERS),
            [second, ..] if first.parse::<IpAddr>().is_ok() && is_name(second) => Some(ETC_HOSTS),
            [second, ..] if is_name(first) && second.parse::<IpAddr>().is_ok() => Some(REVERSED),
            [second] if is_number(second) && !is_number(first) => Some(SLOTS),
            [second] if has_digit(first) && are_attributes(second) => Some(GENDERS),
            _ if text.split([' ', '\t', ',']).any(has_slots) => Some(SLOTS),
            _ => None,
        };
    };
    let key = setting.split('=').next().unwrap_or_default();
    match key {
        "slots" | "max_slots" | "max-slots" => Some(MPI),
        "NodeName" | "PartitionName" | "ClusterName" | "SlurmctldHost" | "NodeSet" => Some(SLURM),
        _ if key.starts_with("ansible_") => Some(ANSIBLE),
        _ if setting.contains(',') => Some(GENDERS),
        _ if others.is_empty() && key.is_empty() => None,
        _ if others.is_empty() => Some(("settings", "write the names of hosts alone")),
        _ if others.len() == 1 => Some(GENDERS),
        _ => Some(ANSIBLE),
    }
}

/// Whether this is `[web]` or `[web:children]`. `[1-3]` and `[fe80::1]` are hosts.
fn is_section(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    let address = inner.split('%').next().unwrap_or_default();
    inner.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && address.parse::<IpAddr>().is_err()
        && !inner.contains([',', '['])
}

/// Whether this is a key of YAML such as `all:` and `hosts:`.
fn is_yaml_key(text: &str) -> bool {
    text.strip_suffix(':')
        .is_some_and(|key| key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) && !key.is_empty())
}

/// Whether the line begins a document, a member or an element of JSON. No host begins in this way.
fn is_json(text: &str) -> bool {
    text == "{" || text == "[" || ["{\"", "[\"", "\"", "{ \"", "[{"].iter().any(|begin| text.starts_with(begin))
}

/// Whether these begin a row of titles as `CONTAINER ID   IMAGE` of docker and `NAME   READY   STATUS` of kubectl, or a
/// row of the latter with how many containers are ready, `web-0   1/1`.
fn is_listing(words: &[&str]) -> bool {
    let is_title = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && !word.bytes().any(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let are_ready = |word: &&str| word.split_once('/').is_some_and(|(ready, all)| is_number(ready) && is_number(all));
    match words {
        [first, second, third, ..] if words.iter().all(is_title) => {
            [first, second, third].iter().any(|word| LISTED.contains(*word))
        }
        [_, second, _, ..] => are_ready(second),
        _ => false,
    }
}

/// Whether this is a row such as `web1,10.0.0.1`, or a row of titles.
fn is_table(text: &str) -> bool {
    const TITLES: [&str; 8] = ["host", "hostname", "name", "fqdn", "ip", "address", "user", "port"];
    let cells: Vec<&str> = text.split([',', ';']).map(str::trim).collect();
    let is_title = |cell: &str| TITLES.iter().any(|title| title.eq_ignore_ascii_case(cell));
    match cells[..] {
        [first, second, ..] => {
            (is_name(first) && second.parse::<IpAddr>().is_ok() || is_name(second) && first.parse::<IpAddr>().is_ok())
                && !text.contains(char::is_whitespace)
                || is_title(first) && is_title(second)
        }
        _ => false,
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

fn has_digit(word: &str) -> bool {
    word.bytes().any(|b| b.is_ascii_digit())
}

/// Whether this is a list of attributes such as `all,mgmt`. In a list of hosts, most names have numbers.
fn are_attributes(word: &str) -> bool {
    let is_attribute = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    word.contains(',') && word.split(',').all(is_attribute)
}

/// Whether this is `node1:4` or `node1:4:4`.
fn has_slots(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    match parts[..] {
        [host, slots] => is_name(host) && is_number(slots) && slots.parse::<u16>().is_ok_and(|port| port < LEAST_PORT),
        _ => false,
    }
}

fn is_keyword(word: &str) -> bool {
    const KEYWORDS: [&str; 10] = [
        "Host",
        "Match",
        "HostName",
        "User",
        "Port",
        "IdentityFile",
        "Include",
        "ProxyJump",
        "ProxyCommand",
        "ForwardAgent",
    ];
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

fn has_port(word: &str) -> bool {
    let port = word.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    port.is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_name(word: &str) -> bool {
    word.parse::<IpAddr>().is_err()
        && word.starts_with(|c: char| c.is_alphabetic())
        && !word.contains([',', '/', '[', '!'])
}

/// Whether this is one host.
fn is_host(word: &str) -> bool {
    is_name(word) || word.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_tools_are_refused_by_name() {
        for (line, format) in [
            ("web1 ansible_host=10.0.0.1", "Ansible"),
            ("web1 http_port=80 max=100", "Ansible"),
            ("[web]", "Ansible"),
            ("[web:children]", "Ansible"),
            ("[all:vars]", "Ansible"),
            ("  hosts:", "Ansible"),
            ("---", "Ansible"),
            ("web1:22 root", "pssh"),
            ("10.0.0.1:2222 deploy", "pssh"),
            ("web1 root", "pssh"),
            ("  web1.example.com\tec2-user", "root@web1, or one host a line"),
            ("10.0.0.1 admin", "pssh"),
            ("node1 slots=4", "MPI"),
            ("node1 slots=4 max_slots=8", "MPI"),
            ("Host web1", "ssh_config"),
            ("  HostName 10.0.0.1", "ssh_config"),
            ("\tuser root", "ssh_config"),
            ("node1 compute,rack=1", "genders"),
            ("node1 rack=1", "genders"),
            ("web1,10.0.0.1 ssh-ed25519 AAAAC3", "known_hosts"),
            ("|1|abc=|def= ssh-rsa AAAA", "known_hosts"),
            ("@cert-authority *.example.com ssh-rsa AAAA", "known_hosts"),
            ("[web1]:2222 ecdsa-sha2-nistp256 AAAA", "known_hosts"),
            ("127.0.0.1 localhost", "/etc/hosts"),
            ("::1 ip6-localhost ip6-loopback", "/etc/hosts"),
            ("node[1-4] all,mgmt", "genders"),
            ("node1:4", "slots"),
            ("node1:16 node2:16", "slots"),
            ("web1 4", "slots"),
            ("web1 10.0.0.1", "names and addresses"),
            ("web1 fe80::1", "names and addresses"),
            ("web1\t10.0.0.1\tup", "names and addresses"),
            ("web1,10.0.0.1", "CSV"),
            ("10.0.0.1,web1,prod", "CSV"),
            ("hostname,ip", "CSV"),
            ("Host;Port", "CSV"),
            ("machine web1 login me password x", ".netrc"),
            ("machine web1", ".netrc"),
            ("default login me password x", ".netrc"),
            ("{", "JSON"),
            ("{\"all\": {\"hosts\": {\"web1\": {}}}}", "JSON"),
            ("[\"web1\", \"web2\"]", "JSON"),
            ("  \"web1\": {},", "JSON"),
            ("web: node[1-3]", "groups"),
            ("all: @web,@db", "groups"),
            ("NodeName=web[1-3] CPUs=4 State=UNKNOWN", "slurm.conf"),
            ("PartitionName=debug Nodes=ALL Default=YES", "slurm.conf"),
            ("ClusterName=cluster", "slurm.conf"),
            ("CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES", "command has printed"),
            ("NAME    READY   STATUS    RESTARTS   AGE", "command has printed"),
            ("web-0   1/1     Running   0          3d", "command has printed"),
            ("NODELIST   NODES PARTITION STATE", "command has printed"),
            ("MACHINE CLASS SERVICE OS VERSION ADDRESSES", "command has printed"),
        ] {
            let message = recognise(line).unwrap_err().message;
            assert!(message.contains(format), "{line}: {message}");
        }
    }

    #[test]
    fn lists_of_hosts_are_no_files_of_other_tools() {
        for line in [
            "",
            "web1",
            "web1 web2",
            "root",
            "web1, root",
            "web1 web2 root",
            "root web1",
            "web[1-3] roots",
            "web1:22 web2:22",
            "web1:22 web2",
            "web1:22, root",
            "[1-3]",
            "[fe80::1]",
            "[fe80::1%eth0]",
            "[fe80::1]:22 [::1]:22",
            "10.0.0.1 10.0.0.2",
            "10.0.0.1",
            "host",
            "bastion/web[1-3]/sudo docker:{a=b}",
            "@web !@db",
            "web[1-3],",
            "node1:22",
            "web1:2222,web2",
            "web1 web2,web3",
            "web db,cache",
            "web1,web2,10.0.0.1",
            "10.0.0.1,10.0.0.2",
            "machine",
            "login1 login2",
            "login web1 web2 web3",
            "fe80::1",
            "1 2 3",
            "docker:{[\"x\"]}",
            "WEB DB CACHE",
            "WEB1 DB1 NAME1",
            "web1 10/1",
        ] {
            assert_eq!(recognise(line), Ok(()), "{line}");
        }
    }
}
