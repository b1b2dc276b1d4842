use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::cli::hosts::command::way;
use crate::cli::hosts::expression::read_back;
use crate::cli::hosts::expression::{Choice, Sources as _, list};
use crate::cli::hosts::sources::Reading;
use crate::cli::inventory::find::Place;

/// A directory with these files. Those with `#!` are programs.
fn files(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    directory
}

/// The inventory at a path, which may have a format in front.
fn named_in(directory: &TempDir, path: &str) -> Reading {
    let (format, path) =
        path.split_once(':').map_or((String::new(), path), |(format, path)| (format!("{format}:"), path));
    Reading::new(Inventories::new(&[format!("{format}{}", directory.path().join(path).display())]))
}

fn hosts(sources: &mut Reading, expression: &str) -> Vec<String> {
    let found = list(&[expression], sources).unwrap_or_else(|error| panic!("{expression}: {error}"));
    found.hosts.iter().map(str::to_owned).collect()
}

fn error(sources: &mut Reading, expression: &str) -> String {
    list(&[expression], sources).unwrap_err().to_string()
}

fn resolved(sources: &mut Reading, host: &str) -> Result<String, String> {
    let host = read_back(host).unwrap();
    sources.inventories.resolve(host, true).map(|host| way(&host))
}

/// The text as an inventory of its own.
fn of(name: &str, text: &str) -> (TempDir, Reading) {
    let directory = files(&[(name, text)]);
    let sources = named_in(&directory, name);
    (directory, sources)
}

const INI: &str = "\
solo1
solo2:2022 ansible_user=amy # note
u-only ansible_host=\"10.0.0.9\" x='a b'
[web]
web[01:03] ansible_host=10.0.0.1
web[a:c].example.com:2200
[web:vars]
ansible_port=2222
[db]
db1 ansible_become=yes ansible_become_user=postgres
db[1:9:4]
fe80::1
[2001:db8::1]:2022 ansible_user=x
[all:vars]
ansible_user=deploy
[eu:children]
web
db
[eu:vars]
ansible_user=eu
[empty]
";

#[test]
fn a_host_that_has_the_name_of_a_local_child_is_left_out_by_that_name() {
    let directory = files(&[("hosts", "[web]\nlocal1\nlocal2\nweb3\n")]);
    let excluded = vec!["local2".to_owned()];
    let choice = Choice { expressions: vec!["@web,local3".to_owned()], excluded, pick: None };
    let found = list(choice, &mut named_in(&directory, "hosts")).unwrap();
    assert_eq!(found.hosts.iter().collect::<Vec<_>>(), ["ssh:{local1}", "web3", "local3"]);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn a_bare_name_beside_a_group_is_a_host_of_the_group() {
    let directory = files(&[("hosts", "[web]\nlocal1\nlocal2\nweb3\n")]);
    let hosts = |text: &str, excluded: &[&str]| {
        let excluded = excluded.iter().map(|text| (*text).to_owned()).collect();
        let choice = Choice { expressions: vec![text.to_owned()], excluded, pick: None };
        let found = list(choice, &mut named_in(&directory, "hosts")).unwrap();
        (found.hosts.iter().map(str::to_owned).collect::<Vec<_>>().join(" "), found.notes.len())
    };
    for (text, excluded, wanted) in [
        ("@web!local2", &[][..], "ssh:{local1} web3"),
        ("@web!local[1-2]", &[], "web3"),
        ("@web & local2", &[], "ssh:{local2}"),
        ("local2&@web", &[], "ssh:{local2}"),
        ("@web^local2", &[], "ssh:{local1} web3"),
        ("web3!local2,@web!local1", &[], "web3 ssh:{local2}"),
        ("@web", &["local1,local2"], "web3"),
        ("@web,local2", &["local2"], "ssh:{local1} web3"),
        // Beside other hosts, they are children of this machine.
        ("local[1-3]!local2", &[], "local1 local3"),
        ("web3^local2", &[], "web3 local2"),
    ] {
        let (found, notes) = hosts(text, excluded);
        assert_eq!(found, wanted, "{text}");
        assert_eq!(notes, usize::from(text.starts_with("web3!")), "{text}");
    }
}

/// What `ansible-inventory` of ansible-core 2.19 makes of the same files.
#[test]
fn ini_with_files_of_variables_is_read_as_ansible_reads_it() {
    let directory = files(&[
        ("inv/hosts", INI),
        ("inv/group_vars/web.yml", "ansible_user: fromweb\nansible_become: true\n"),
        ("inv/host_vars/web02", "ansible_user: fromhost\n"),
    ]);
    for path in ["inv", "inv/hosts"] {
        let mut sources = named_in(&directory, path);
        let web = ["web01", "web02", "web03", "weba.example.com", "webb.example.com", "webc.example.com"];
        assert_eq!(hosts(&mut sources, "@web"), web);
        let db = ["db1", "db5", "db9", "[fe80::1]", "[2001:db8::1]"];
        assert_eq!(hosts(&mut sources, "@db"), db);
        assert_eq!(hosts(&mut sources, "@eu"), [&web[..], &db].concat());
        assert_eq!(hosts(&mut sources, "@ungrouped"), ["solo1", "solo2", "u-only"]);
        assert_eq!(hosts(&mut sources, "@all").len(), 14);
        assert_eq!(error(&mut sources, "@empty"), "no host matches `@empty`");
        for (host, expected) in [
            ("web01", "fromweb@10.0.0.1:2222/sudo:root"),
            ("web02", "fromhost@10.0.0.1:2222/sudo:root"),
            ("weba.example.com", "fromweb@weba.example.com:2200/sudo:root"),
            ("db1", "eu@db1/sudo:postgres"),
            ("db5", "eu@db5"),
            ("[fe80::1]", "eu@[fe80::1]"),
            ("[2001:db8::1]", "x@[2001:db8::1]:2022"),
            ("solo1", "deploy@solo1"),
            ("solo2", "amy@solo2:2022"),
            ("u-only", "deploy@10.0.0.9"),
            // What was written comes first, and strangers stay as they are.
            ("root@web01:22", "root@10.0.0.1:22/sudo:root"),
            ("web01/docker:app", "fromweb@10.0.0.1:2222/docker:app"),
            ("other", "other"),
        ] {
            assert_eq!(resolved(&mut sources, host).as_deref(), Ok(expected), "{host}");
        }
    }
}

/// What `ansible-inventory --host h1` of ansible-core 2.19 says of the same files.
#[test]
fn deeper_groups_and_files_beside_an_inventory_win_in_ansibles_order() {
    let directory = files(&[
        (
            "a.ini",
            "[all:vars]\nansible_user=all\n[web]\nh1\n[web:vars]\nansible_user=web\nansible_port = 22 # c\n[app]\nh1\n\
             [app:vars]\nansible_user=app\n[zz:children]\nweb\n[zz:vars]\nansible_host=zz\n",
        ),
        ("group_vars/all.yml", "ansible_host: gv_all\n"),
        ("group_vars/web/b.yml", "ansible_host: gv_web_b\n"),
        ("group_vars/web/a.yaml", "ansible_port: 99\n"),
        ("group_vars/web/.hidden", "ansible_port: 98\n"),
        ("group_vars/web/c.txt", "ansible_port: 97\n"),
        ("group_vars/app", "ansible_become_user: x\n"),
        ("group_vars/app.yml", "ansible_become: yes\n"),
    ]);
    assert_eq!(resolved(&mut named_in(&directory, "a.ini"), "h1").unwrap(), "web@gv_web_b:99");
    // A port behind a name counts where the host is named first.
    let text = "[a]\nh ansible_port=22\ng:2200\n[b]\nh:2200\ng ansible_port=22\n[c]\ng:2200\n";
    let (_ports, mut sources) = of("q.ini", text);
    assert_eq!(
        (resolved(&mut sources, "h").unwrap(), resolved(&mut sources, "g").unwrap()),
        ("h:22".into(), "g:22".into())
    );
    // Priorities order groups of one depth, whose names do it otherwise.
    let text = "[a]\nh\n[b]\nh\n[a:vars]\nansible_user=a\nansible_group_priority=10\n[b:vars]\nansible_user=b\n";
    assert_eq!(resolved(&mut of("p.ini", text).1, "h").unwrap(), "a@h");
}

#[test]
fn yaml_and_json_are_read() {
    let yaml = "\
all:
  vars: {ansible_user: deploy}
  hosts:
    solo1:
    'n[1:2]:2200':
  children:
    web:
      hosts:
        web[01:02].example.com: &port {ansible_port: 2222}
        web9: *port
      children: {canary: {hosts: {web9: {<<: *port, ansible_user: amy}}}}
    db: {hosts: db1, vars: {ansible_host: 10.0.0.1, ansible_become: true, http: [1, {a: b}]}}
";
    let json = r#"{"web": {"hosts": ["web1", "web2"], "vars": {"ansible_user": "x"}, "children": ["sub"]},
        "sub": ["web3"], "_meta": {"hostvars": {"web3": {"ansible_port": 1022}}}}"#;
    let (_one, mut sources) = of("hosts.yml", yaml);
    assert_eq!(hosts(&mut sources, "@web"), ["web01.example.com", "web02.example.com", "web9"]);
    assert_eq!(hosts(&mut sources, "@ungrouped"), ["solo1", "n1", "n2"]);
    assert_eq!(resolved(&mut sources, "web9").unwrap(), "amy@web9:2222");
    assert_eq!(resolved(&mut sources, "n1").unwrap(), "deploy@n1:2200");
    assert_eq!(resolved(&mut sources, "db1").unwrap(), "deploy@10.0.0.1/sudo:root");
    let (_two, mut sources) = of("hosts.json", json);
    assert_eq!(hosts(&mut sources, "@web"), ["web1", "web2", "web3"]);
    assert_eq!(resolved(&mut sources, "web3").unwrap(), "x@web3:1022");
}

#[test]
fn programs_print_groups_and_are_run_only_if_named() {
    let program = r#"#!/bin/sh
[ "$1" = --list ] || exit 1
echo '{"web": {"hosts": ["web[1]x", "web2"]}, "_meta": {"hostvars": {"web2": {"ansible_host": "h2"}}}}'
"#;
    let (directory, mut sources) = of("cloud", program);
    assert_eq!(resolved(&mut sources, "web2").unwrap(), "h2");
    assert!(sources.inventories.group("web").unwrap().unwrap().contains("ssh:{web[1]x}"));
    assert!(sources.inventories.take_notes().is_empty());
    let place = Place { path: directory.path().join("cloud"), format: None, is_named: false };
    let loaded = Loaded::read(&[place]).unwrap();
    assert!(loaded.inventory.hosts().is_empty() && loaded.notes[0].contains("is run only if -I names it"));
    let (_failing, mut sources) = of("cloud", "#!/bin/sh\necho no token >&2\nexit 2\n");
    assert!(error(&mut sources, "@web").contains("it says: no token"));
    let (_other, mut sources) = of("cloud", "#!/bin/sh\necho hello\n");
    assert!(error(&mut sources, "@web").contains("its output is not JSON"));
}

#[test]
fn lists_genders_dsh_and_ssh_config_are_read() {
    let (_directory, mut sources) = of("mine", "web[1-2] # front\nbastion/db1\n");
    assert_eq!(hosts(&mut sources, "@all"), ["web1", "web2", "bastion/db1"]);
    assert_eq!(hosts(&mut sources, "web*,*db?"), ["web1", "web2", "bastion/db1"]);
    let (_directory, mut sources) = of("genders", "node[1-3] compute,rack=1\nnode3,node4 gpu,name=x%n # c\nnode9\n");
    assert_eq!(hosts(&mut sources, "@compute&@gpu"), ["node3"]);
    assert_eq!(hosts(&mut sources, "@{rack=1}!@gpu,@rack=1&node1"), ["node1", "node2"]);
    assert_eq!(hosts(&mut sources, "@*").len(), 5);
    let directory = files(&[("dsh/machines.list", "a\nb # c\n"), ("dsh/group/web", "root@a\n")]);
    let mut sources = named_in(&directory, "dsh");
    assert_eq!(hosts(&mut sources, "@all"), ["a", "b", "root@a"]);
    assert_eq!(hosts(&mut sources, "@web"), ["root@a"]);
    let directory = files(&[
        (".ssh/config", "Include conf.d/*\nHost web1 \"web2\" !no *.wild\n  HostName x\nhost=db1 # c\nMatch all\n"),
        (".ssh/conf.d/one", "Host inner\n"),
    ]);
    let mut sources = named_in(&directory, ".ssh/config");
    assert_eq!(hosts(&mut sources, "@all"), ["inner", "web1", "web2", "db1"]);
    assert_eq!(hosts(&mut sources, "w*"), ["web1", "web2"]);
}

/// As `nodeset` of ClusterShell 1.9 has it.
#[test]
fn groups_of_clustershell_are_read() {
    let directory = files(&[
        (
            "groups.conf",
            "[Main]\ndefault: roles\nautodir: $CFGDIR/groups.d\n[cmd]\nmap: echo \"node[1-3] @x,$GROUP\"\nall: echo n[1-9]\n\
             [local]\nmap: sed -n 's/^$GROUP:\\(.*\\)/\\1/p' $CFGDIR/groups\n\
             list: sed -n 's/^\\([0-9A-Za-z_-]*\\):.*/\\1/p' $CFGDIR/groups\n",
        ),
        (
            "groups.d/cluster.yaml",
            "roles:\n  adm: 'example0'\n  io: 'example[1-2]'\n  all2: '@adm,@io,@racks:new'\n  nd: [x1, x2]\n\
             racks:\n  new: 'example[4-9]'\n  nest: '@new!example5'\n  adm: 'racksadm'\n  q: '@adm'\n",
        ),
        ("groups", "compute: node[1-2]\nall: @compute\n"),
    ]);
    let mut sources = named_in(&directory, "groups.conf");
    for (expression, expected) in [
        ("@adm", &["example0"][..]),
        ("@all2!@racks:new", &["example0", "example1", "example2"]),
        ("@racks:nest&example[4-6]", &["example4", "example6"]),
        ("@racks:q", &["racksadm"]),
        ("@nd", &["x1", "x2"]),
        ("@local:compute", &["node1", "node2"]),
        ("@local:all", &["node1", "node2"]),
        ("@local:*", &["node1", "node2"]),
        ("@racks:*!example[4-9]", &["racksadm"]),
        ("@cmd:*&n[1-2]", &["n1", "n2"]),
        ("@all&node*", &["node1", "node2"]),
    ] {
        assert_eq!(hosts(&mut sources, expression), expected, "{expression}");
    }
    assert_eq!(sources.inventories.listed_groups().unwrap(), ["local:compute", "local:all"]);
    assert!(error(&mut sources, "@cmd:y").contains("@cmd:x"), "a group of a command may refer to others");
    assert!(error(&mut sources, "@local:nope").contains("there is no group @local:nope"));
    assert!(error(&mut sources, "@{local:$(touch x)}").contains("cannot be in a group"));
    assert!(error(&mut sources, "@rack:new").contains("did you mean @racks:new"));
    let (_directory, mut sources) = of("flat", "web: node[1-2]\nboth: @web,x\n");
    assert_eq!(hosts(&mut sources, "@both"), ["node1", "node2", "x"]);
}

#[test]
fn a_path_leads_through_other_hosts_of_the_inventory() {
    let text = "\
[all:vars]
ansible_user=amy
ansible_become=yes
[hops]
bastion ansible_host=10.9.9.9
[web]
web1 ansible_host=10.0.0.1 offshoot_path=bastion/web1/sudo:www
web2 offshoot_path=bastion/web2
web3 offshoot_path=web1/docker:app
loop1 offshoot_path=loop2/loop1
loop2 offshoot_path=loop1/loop2
key1 ansible_ssh_private_key_file=/k ansible_ssh_common_args='-o A=b -J \"x y\"'
docker1 ansible_connection=community.docker.docker ansible_host=app
here ansible_connection=local ansible_become=no
";
    let (_directory, mut sources) = of("i.ini", text);
    for (host, expected) in [
        ("web1", "amy@10.9.9.9/amy@10.0.0.1/sudo:www"),
        ("web2", "amy@10.9.9.9/amy@web2/sudo:root"),
        ("web3", "amy@10.9.9.9/amy@10.0.0.1/sudo:www/docker:app/sudo:root"),
        ("key1", "amy@key1 -i /k -o A=b -J 'x y'/sudo:root"),
        ("docker1", "docker:amy@app/sudo:root"),
        ("here", "local:here"),
        ("bastion/key1/sudo:bob", "amy@10.9.9.9/amy@key1 -i /k -o A=b -J 'x y'/sudo:bob"),
    ] {
        assert_eq!(resolved(&mut sources, host).as_deref(), Ok(expected), "{host}");
    }
    assert!(resolved(&mut sources, "loop1").unwrap_err().contains("loop1 > loop2 > loop1"));
    // The command line says whom to become.
    let host = sources.inventories.resolve(read_back("key1").unwrap(), false).unwrap();
    assert_eq!(host.hops.len(), 1);
}

#[test]
fn variables_that_cannot_be_used_are_named() {
    let text = "\
t1 ansible_host='{{ lookup(1) }}'
w1 ansible_connection=winrm
b1 ansible_become=1 ansible_become_method=runas
p1 ansible_port=none
v1 offshoot_path=a//b
v2 offshoot_path=@web
v3 offshoot_path=bastion/web[1-2]
s1 ansible_user='a;b'
d1 ansible_host=-oProxyCommand=x
pass1 ansible_password=x ansible_become_pass=y
pass2 ansible_password=x
fine http_port='{{ x }}'
";
    let (_directory, mut sources) = of("i.ini", text);
    for (host, says) in [
        ("t1", "ansible_host of the host t1: it is a template, {{ lookup(1) }}"),
        ("w1", "ansible_connection of the host w1: there is no method `winrm`; leave out the host with -x w1"),
        ("b1", "ansible_become_method of the host b1: `runas` is not sudo, su or doas"),
        ("p1", "only a port, 1 to 65535"),
        ("v1", "offshoot_path of the host v1: "),
        ("v2", "offshoot_path of the host v2: a path is one host"),
        ("v3", "offshoot_path of the host v3: a path is one host"),
        ("s1", "ssh does not accept"),
        ("d1", "cannot begin with `-`"),
    ] {
        let error = resolved(&mut sources, host).unwrap_err();
        assert!(error.contains(says) && error.contains(host), "{host}: {error}");
    }
    assert!(sources.inventories.take_notes().is_empty());
    for host in ["pass1", "pass2", "fine"] {
        assert_eq!(resolved(&mut sources, host).unwrap(), host);
    }
    let notes = sources.inventories.take_notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].starts_with("ansible_password of pass1 and 1 more is not used: ") && notes[0].contains("--ask-pass")
    );
    assert!(sources.inventories.take_notes().is_empty());
    let directory = files(&[
        ("h.ini", "a\nb\n"),
        ("host_vars/a.yml", "ansible_user: !vault |\n  $ANSIBLE_VAULT;1.1\n"),
        ("host_vars/b", "$ANSIBLE_VAULT;1.1;AES256\n61\n"),
    ]);
    let mut sources = named_in(&directory, "h.ini");
    assert!(resolved(&mut sources, "a").unwrap_err().contains("ansible_user of the host a: it is encrypted"));
    // A whole file mostly has passwords, and is left out with a note.
    assert_eq!(resolved(&mut sources, "b").unwrap(), "b");
    let notes = sources.inventories.take_notes();
    assert!(notes[0].contains("host_vars/b is encrypted by ansible-vault and not read"), "{notes:?}");
    assert!(sources.inventories.take_notes().is_empty());
}

#[test]
fn what_is_wrong_with_an_inventory_is_told_with_its_file_and_line() {
    for (name, text, says) in [
        ("a.ini", "[web]\nweb1\n[web:kids]\n", "a.ini: (read as ini) line 3: a section ends with"),
        ("a.ini", "h1\n[a:children]\nb\n", "line 3: there is no group b"),
        ("a.ini", "[x:vars]\na=b\n", "line 1: there is no group x"),
        ("a.ini", "web1 web2\n", "line 1: `web2` is not a variable"),
        ("a.ini", "web1 a='b\n", "line 1: the quote ' is not closed"),
        ("a.ini", "web[5:1] a=b\n", "line 1: [5:1] is not a range"),
        (
            "a.ini",
            "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n",
            "the group @a contains itself: @a > @b > @c > @a",
        ),
        ("a.yml", "a:\n  children:\n    b:\n      children:\n        a:\n", "@a > @b > @a"),
        ("a.yml", "web:\n  hosts: [1, [2]]\n", "line 2: a host is a list"),
        ("a.yml", "web:\n  hosts: {a\n", "line 2: unclosed bracket"),
        ("a.yml", "- a\n", "not a list"),
        ("a.yml", "a: &x [*x]\n", "line 1: "),
        ("a.yml", "a: 1\n---\nb: 2\n", "a second document"),
        ("a.yml", "plugin: aws_ec2\n", "plugins are not run here"),
        ("a.json", "{\"a\": 1", "not JSON"),
        ("a.ini", "$ANSIBLE_VAULT;1.1;AES256\n61\n", "encrypted by ansible-vault"),
        ("a.txt", "web1\nweb*[\n", "a.txt, line 2"),
    ] {
        let (_directory, mut sources) = of(name, text);
        let error = error(&mut sources, "@all");
        assert!(error.contains(says), "{text}: {error}");
    }
    assert!(
        error(&mut Reading::new(Inventories::new(&["/nowhere".into()])), "@web").contains("/nowhere: No such file")
    );
}

#[test]
fn an_unknown_group_is_told_with_what_there_is() {
    let (directory, mut sources) = of("i.ini", "[web]\na\n[web-eu]\nb\n[db]\nc\n");
    let path = directory.path().join("i.ini").display().to_string();
    let told = error(&mut sources, "@wen");
    assert!(told.contains(&format!("there is no group @wen; read: {path}; did you mean @web?")), "{told}");
    assert!(error(&mut sources, "@other").contains("there are @web, @web-eu, @db"));
    let told = list(&["x*"], &mut sources).unwrap_err();
    assert!(told.to_string().starts_with("no known host matches `x*`; read: "), "{told}");
    assert_eq!(told.kind, crate::cli::hosts::expression_error::FaultKind::Empty);
}

#[test]
fn inventories_are_found_in_order() {
    let directory = files(&[
        ("project/inventory", ""),
        ("project/hosts", ""),
        ("cfg/ansible.cfg", "[defaults]\ninventory = prod/a, /b ; c\n"),
        ("cfg/inventory", ""),
        ("empty/x", ""),
        ("home/.ssh/config", ""),
        ("home/.config/offshoot/hosts", ""),
        ("home/.dsh/machines.list", ""),
        ("etc/ansible/hosts", ""),
        ("etc/clustershell/groups.conf", ""),
        ("etc/genders", ""),
    ]);
    let root = directory.path();
    let find = |below: &str, variables: &[(&str, &str)]| {
        let home = root.join("home");
        let variable = |name: &str| {
            let set = variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            set.or_else(|| (name == "HOME").then(|| home.clone().into_os_string()))
        };
        let found = Surroundings { variable: &variable, directory: root.join(below), etc: root.join("etc") }.find();
        let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        let places = found.places.iter().map(|place| shown(&place.path)).collect::<Vec<_>>();
        (places, found.notes.len())
    };
    assert_eq!(find("project", &[("OFFSHOOT_INVENTORY", "a,genders:b"), ("ANSIBLE_INVENTORY", "c")]).0, ["a", "b"]);
    assert_eq!(find("project", &[("ANSIBLE_INVENTORY", "c")]).0, ["c"]);
    assert_eq!(find("project", &[]).0, ["./inventory"]);
    assert_eq!(find("cfg", &[]).0, ["cfg/prod/a", "/b"]);
    let everywhere = [
        "home/.config/offshoot/hosts",
        "etc/ansible/hosts",
        "etc/clustershell/groups.conf",
        "etc/genders",
        "home/.dsh",
    ];
    assert_eq!(find("empty", &[]).0, everywhere);
    // What others may have put there is not taken.
    fs::set_permissions(root.join("project"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(find("project", &[]), (everywhere.map(str::to_owned).to_vec(), 1));
}

/// Inputs that cost a naive reader much time or memory.
#[test]
fn large_and_hostile_inventories_are_answered_or_refused_soon() {
    let many = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let cases = [
        ("a.ini", "[a]\nweb[1:999999999]x\n".to_owned()),
        ("a.ini", many(50_000, &|n| format!("[g{n}]\nh\n"))),
        ("a.ini", many(50_000, &|n| format!("[g{n}:children]\ng{}\n", n + 1)) + "[g50000]\nh\n"),
        ("a.ini", many(1_000, &|_| format!("h{} a=b\n", "[1:9]".repeat(17)))),
        ("a.yml", "[".repeat(200_000)),
        ("a.yml", "a: ".repeat(100_000)),
        ("a.yml", many(60_000, &|n| format!("{}a:\n", " ".repeat(n.min(200))))),
        ("a.yml", "a: &a {hosts: {h[1:9999]: }}\n".to_owned() + &many(5_000, &|n| format!("g{n}: *a\n"))),
        ("a.yml", "a: &a {x: 1}\n".to_owned() + &many(20_000, &|_| "<<: *a\n".to_owned())),
        ("a.yml", "a: &a0 [x]\n".to_owned() + &many(60, &|n| format!("b{n}: &a{} [*a{n}, *a{n}]\n", n + 1))),
        ("a.json", "[".repeat(1_000_000)),
        ("genders", many(4_000, &|n| format!("n{n} {}\n", many(20, &|a| format!("a{n}x{a},"))))),
        ("flat", many(20_000, &|n| format!("g{n}: @g{}\n", n + 1))),
    ];
    for (name, text) in cases {
        let (_directory, mut sources) = of(name, &text);
        let began = Instant::now();
        let answer = list(&["@all"], &mut sources).map(|found| found.hosts.len()).map_err(|error| error.to_string());
        let elapsed = began.elapsed();
        let head: String = text.chars().take(40).collect();
        assert!(elapsed < Duration::from_secs(8), "{name} {head:?}: {elapsed:?}, {answer:?}");
    }
}

fn tokens() -> impl Strategy<Value = String> {
    let tokens = [
        "web",
        "[",
        "]",
        ":",
        "=",
        "\n",
        " ",
        "[web]\n",
        "[a:children]\n",
        "[a:vars]\n",
        "ansible_host=",
        "'",
        "\"",
        "{",
        "}",
        "- ",
        "&a ",
        "*a",
        "<<: ",
        ",",
        "#",
        "@",
        "!",
        "\\",
        "0",
        "9",
        "[1:3]",
        "[a:c]",
        "hosts",
        "children",
        "vars",
        "  ",
        "all:\n",
        "Host ",
        "Include ",
        "[Main]\n",
        "map: echo",
        "\t",
        "\u{0}",
        "\u{e4}",
        "? ",
        "| ",
        "> ",
        "%",
        "---\n",
        "/",
        "~",
    ];
    prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic_or_take_long(text in prop_oneof![tokens(), "\\PC{0,80}"], nth in 0..Format::ALL.len()) {
        let began = Instant::now();
        let (name, _) = Format::ALL[nth];
        let directory = files(&[("f", &text)]);
        let path = directory.path().join("f");
        // Commands of a random text are not run.
        if !text.contains("map") {
            let mut sources = Reading::new(Inventories::new(&[format!("{name}:{}", path.display())]));
            let _ = list(&["@all"], &mut sources);
            let _ = sources.known();
            let _ = resolved(&mut sources, "web");
        }
        let _ = Format::detect(Path::new("f"), &text);
        prop_assert!(began.elapsed() < Duration::from_secs(1));
    }
}
