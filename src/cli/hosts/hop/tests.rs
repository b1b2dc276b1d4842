use super::*;
use crate::cli::hosts::pattern::cut;
use crate::connect::methods::Engine;

fn segment(text: &str) -> Result<Segment, Fault> {
    Segment::parse(cut(text, 0, 16)?.remove(0))
}

fn hops(text: &str) -> Result<Vec<(String, Hop)>, Fault> {
    match segment(text)? {
        Segment::Hop(method, pattern) => {
            let hops = pattern.hops(method)?;
            assert_eq!(pattern.count(), hops.len() as u64);
            Ok(hops)
        }
        Segment::Group(_) => panic!("{text} is a group"),
    }
}

fn one(text: &str) -> Hop {
    let mut hops = hops(text).unwrap();
    assert_eq!(hops.len(), 1);
    let (spelled, hop) = hops.remove(0);
    assert_eq!(spelled, text);
    hop
}

fn hop_of(method: Method, target: &str) -> Hop {
    Hop::plain(method, target)
}

fn texts(text: &str) -> Vec<String> {
    hops(text).unwrap().into_iter().map(|(text, _)| text).collect()
}

#[test]
fn a_bare_word_is_an_ssh_host() {
    assert_eq!(one("web1"), hop_of(Method::Ssh, "web1"));
    assert_eq!(one("ssh:web1"), one("web1"));
    assert_eq!(one("10.0.0.1"), hop_of(Method::Ssh, "10.0.0.1"));
    assert_eq!(one("web_1.example.com"), hop_of(Method::Ssh, "web_1.example.com"));
    assert_eq!(one("bücher.example"), hop_of(Method::Ssh, "bücher.example"));
}

#[test]
fn ssh_takes_a_user_and_a_port() {
    let full = one("deploy@web1:2222");
    assert_eq!((full.user.as_deref(), full.port), (Some("deploy"), Some(2222)));
    assert_eq!(full.target, "web1");
    assert_eq!(one("ssh:deploy@web1:2222"), full);
    assert_eq!(one("me@corp@web1").user.as_deref(), Some("me@corp"));
    assert_eq!(one("{CORP\\me}@web1").user.as_deref(), Some("CORP\\me"));
    assert_eq!(one("web1:1").port, Some(1));
    assert_eq!(one("web1:65535").port, Some(65535));
}

#[test]
fn addresses_stand_in_brackets() {
    assert_eq!(one("[fe80::1]"), hop_of(Method::Ssh, "fe80::1"));
    let hop = one("root@[fe80::1%eth0]:22");
    assert_eq!((hop.target.as_str(), hop.port), ("fe80::1%eth0", Some(22)));
    assert_eq!(one("ssh:[::1]"), hop_of(Method::Ssh, "::1"));
}

#[test]
fn methods_are_named_before_a_colon() {
    assert_eq!(one("docker:app"), hop_of(Method::Container(Engine::Docker), "app"));
    assert_eq!(one("sudo:www-data"), hop_of(Method::Sudo, "www-data"));
    assert_eq!(one("sudo:me@corp"), hop_of(Method::Sudo, "me@corp"));
    assert_eq!(one("lxc:remote:c1"), hop_of(Method::Container(Engine::Lxc), "remote:c1"));
    assert_eq!(one("setns:docker:app"), hop_of(Method::Setns, "docker:app"));
    assert_eq!(one("docker:me@app").user.as_deref(), Some("me"));
    assert_eq!(one("docker:80"), hop_of(Method::Container(Engine::Docker), "80"));
    for method in Method::all().filter(|m| *m != Method::Setns) {
        assert_eq!(one(&format!("{method}:x")), hop_of(method, "x"));
    }
}

#[test]
fn some_methods_need_no_target() {
    assert_eq!(one("sudo"), hop_of(Method::Sudo, "root"));
    assert_eq!(one("su"), one("su:root"));
    assert_eq!(one("doas"), one("doas:root"));
    assert_eq!(one("local"), hop_of(Method::Local, ""));
    assert_eq!(one("fork"), hop_of(Method::Fork, ""));
}

#[test]
fn numbered_locals_are_local() {
    assert_eq!(texts("local[1-3]"), ["local1", "local2", "local3"]);
    assert_eq!(one("local1"), hop_of(Method::Local, "local1"));
    assert_eq!(one("local01"), hop_of(Method::Local, "local01"));
    assert_eq!(one("local:db"), hop_of(Method::Local, "db"));
    assert_eq!(hops("local1[2-3]").unwrap()[0].1, hop_of(Method::Local, "local12"));
    for ssh in ["localhost", "local1a", "locale", "local-1", "local1:22", "me@local1", "fork1"] {
        assert_eq!(one(ssh).method, Method::Ssh, "{ssh}");
    }
}

#[test]
fn braces_keep_everything_together() {
    assert_eq!(one("docker:{registry/app:1}"), hop_of(Method::Container(Engine::Docker), "registry/app:1"));
    assert_eq!(one("{sudo}"), hop_of(Method::Ssh, "sudo"));
    assert_eq!(one("ssh:docker"), hop_of(Method::Ssh, "docker"));
    assert_eq!(one("docker:{a@b}").user, None);
    assert_eq!(
        one("docker:me@{a@b}"),
        Hop { user: Some("me".into()), ..hop_of(Method::Container(Engine::Docker), "a@b") }
    );
    assert_eq!(texts("docker:{a/b}[1-2]"), ["docker:{a/b}1", "docker:{a/b}2"]);
    assert_eq!(one("docker:{a[1-2]}"), hop_of(Method::Container(Engine::Docker), "a[1-2]"));
}

#[test]
fn numbers_can_stand_anywhere_and_the_last_varies_fastest() {
    assert_eq!(texts("r[1-2]n[01-02]"), ["r1n01", "r1n02", "r2n01", "r2n02"]);
    let ports: Vec<_> = hops("web:[2201-2203]").unwrap().into_iter().map(|(_, h)| h.port).collect();
    assert_eq!(ports, [Some(2201), Some(2202), Some(2203)]);
    assert_eq!(texts("u[1-2]@h"), ["u1@h", "u2@h"]);
    assert_eq!(hops("u[1-2]@h").unwrap()[1].1.user.as_deref(), Some("u2"));
    assert_eq!(texts("10.0.[0-1].[1-2]").len(), 4);
    assert_eq!(texts("[1-2]"), ["1", "2"]);
}

#[test]
fn groups_have_names_with_numbers_too() {
    let Segment::Group(pattern) = segment("@rack[1-2]").unwrap() else { panic!() };
    assert_eq!(pattern.names(), ["rack1", "rack2"]);
    let Segment::Group(pattern) = segment("@src:{my group}").unwrap() else { panic!() };
    assert_eq!(pattern.names(), ["src:my group"]);
    assert_eq!(segment("@").unwrap_err().span, Span::new(0, 1));
    assert!(segment("@[::1]").is_err());
}

#[test]
fn counting_costs_nothing() {
    let Segment::Hop(_, pattern) = segment("a[0-999999999999999999]b[0-999999999999999999]").unwrap() else { panic!() };
    assert_eq!(pattern.count(), u64::MAX);
}

#[test]
fn faults_say_where_and_what_to_write() {
    for (text, at, len, says) in [
        ("docker", 0, 6, "ssh:docker"),
        ("ssh", 0, 3, "ssh needs a target"),
        ("docker:", 0, 7, "target is missing"),
        ("local:", 0, 6, "target is missing"),
        ("@web1", 0, 0, ""),
        ("ssh:@web1", 4, 1, "user is missing"),
        ("deploy@", 6, 1, "target is missing after `@`"),
        ("web1:", 4, 1, "port is missing"),
        (":22", 0, 1, "host is missing"),
        ("web1:0", 5, 1, "1 to 65535"),
        ("web1:65536", 5, 5, "1 to 65535"),
        ("web1:[65535-65536]", 5, 13, "65536 is not a port"),
        ("web1:99999999999999999999999999", 5, 26, "not a port"),
        ("dockr:app", 0, 5, "did you mean docker?"),
        ("foo:bar", 0, 3, "there are local fork ssh"),
        ("ssh:foo:bar", 8, 3, "only a port"),
        ("me@foo:bar", 0, 0, ""),
        ("me@docker:app", 3, 6, "docker:USER@NAME"),
        ("me@setns:lxc:c1", 3, 12, "setns:USER@NAME"),
        ("fe80::1", 0, 7, "stands in brackets"),
        ("[::1]x", 0, 5, "whole ssh host"),
        ("docker:[::1]", 7, 5, "whole ssh host"),
        ("[::1]@x", 0, 5, "whole ssh host"),
        ("x:[::1]", 0, 1, "not a method"),
        ("kubectl:me@pod", 10, 1, "kubectl takes no user"),
        ("local:a@b", 7, 1, "local takes no user"),
        ("setns:app", 0, 9, "setns:docker:app"),
        ("setns:docker:", 0, 13, "setns:docker:app"),
        ("-oProxyCommand=x", 0, 16, "cannot begin with `-`"),
        ("{-oProxyCommand=x}", 0, 18, "cannot begin with `-`"),
        ("docker:-x", 7, 2, "cannot begin with `-`"),
        ("-l@web1", 0, 2, "cannot begin with `-`"),
        ("me@-web1", 3, 5, "cannot begin with `-`"),
        ("{a b}", 0, 5, "ssh does not accept ` `"),
        ("{$(x)}", 0, 6, "ssh does not accept `$`"),
        ("{a;b}@web1", 0, 5, "name of a user"),
    ] {
        let result = hops_or_group(text);
        if says.is_empty() {
            continue;
        }
        let fault = result.unwrap_err();
        assert_eq!(fault.span, Span::new(at, len), "{text}: {}", fault.message);
        assert!(fault.message.contains(says), "{text}: {}", fault.message);
    }
}

fn hops_or_group(text: &str) -> Result<(), Fault> {
    match segment(text)? {
        Segment::Hop(method, pattern) => pattern.hops(method).map(drop),
        Segment::Group(_) => Ok(()),
    }
}

#[test]
fn a_port_after_a_user_and_host_is_still_no_method() {
    let fault = hops("me@dockr:app").unwrap_err();
    assert!(fault.message.contains("docker"), "{}", fault.message);
}

#[test]
fn names_that_are_too_long_are_refused() {
    assert!(hops(&"a".repeat(MAX_NAME)).is_ok());
    assert!(hops(&"a".repeat(MAX_NAME + 1)).is_err());
    assert!(hops(&format!("{}@h", "a".repeat(MAX_NAME + 1))).is_err());
}
