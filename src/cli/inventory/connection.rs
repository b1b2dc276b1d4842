//! What the variables of a host say about the way to it.

use std::sync::Arc;

use crate::cli::hosts::expression::MAX_HOPS;
use crate::cli::hosts::path::{FromInventory, Hop, HostPath, Method};
use crate::cli::inventory::vars::{Value, Var, Vars};
use crate::cli::inventory::words;
use crate::connect::host_path::PathError;

/// Values of `ansible_become` that mean yes, in small letters. Ansible takes all others for no.
const YES: [&str; 6] = ["yes", "true", "y", "t", "on", "1"];

/// The way to a host of an inventory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// `offshoot_path`, whose last ssh hop with the name of the host is this host.
    pub(crate) path: Option<String>,
    /// The hop that leads to the host itself.
    pub(crate) own: Hop,
    /// The hop that becomes another user there.
    pub(crate) becomes: Option<Hop>,
}

/// The way to the host `name` that its variables describe.
///
/// # Errors
///
/// If a variable cannot be used. The error has its name, and that of the host.
pub(crate) fn way(name: &str, vars: &Vars) -> Result<Way, String> {
    let get = |wanted: &[Var]| text(name, vars, wanted);
    let method = match get(&Var::CONNECTION)? {
        None => Method::Ssh,
        Some(connection) => method(name, &connection)?,
    };
    let address = get(&Var::HOST)?.unwrap_or_else(|| name.to_owned());
    let user = get(&Var::USER)?;
    let port = get(&Var::PORT)?;
    let mut own = match method {
        Method::Local => Hop::plain(Method::Local, name),
        Method::Ssh => {
            let target = if address.contains(':') { format!("[{address}]") } else { format!("{{{address}}}") };
            let user = user.map_or_else(String::new, |user| format!("{{{user}}}@"));
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            parsed(name, &format!("ssh:{user}{target}{port}"))?
        }
        other => {
            let user = user.filter(|_| other.takes_user()).map_or_else(String::new, |user| format!("{{{user}}}@"));
            parsed(name, &format!("{other}:{user}{{{address}}}"))?
        }
    };
    let mut ssh_args = Vec::new();
    if method == Method::Ssh {
        for var in Var::SSH_ARGS {
            if let Some(line) = get(&[var])? {
                let split = words::split(&line, false).map_err(|why| wrong(name, var, &why))?;
                ssh_args.extend(split);
            }
        }
        if let Some(key) = get(&Var::KEY)? {
            ssh_args.splice(..0, ["-i".to_owned(), home(&key)]);
        }
    }
    // The name is a part of it. So two hosts at one address are two children.
    own.inventory = Some(Arc::new(FromInventory { name: name.to_owned(), ssh_args }));
    let becomes = match get(&Var::BECOME)? {
        Some(value) if YES.contains(&value.to_lowercase().as_str()) => {
            let user = get(&Var::BECOME_USER)?.unwrap_or_else(|| "root".into());
            let method = get(&Var::BECOME_METHOD)?.unwrap_or_else(|| "sudo".into());
            let method = method.rsplit('.').next().unwrap_or_default();
            match Method::by_name(method) {
                Some(method) if Method::BECOMING.contains(&method) => {
                    Some(parsed(name, &format!("{method}:{{{user}}}"))?)
                }
                _ => {
                    let why = format!("`{}` is not sudo, su or doas", method.escape_debug());
                    return Err(wrong(name, Var::BECOME_METHOD[0], &why));
                }
            }
        }
        _ => None,
    };
    Ok(Way { path: get(&Var::PATH)?, own, becomes })
}

/// The value of the variable that counts among these.
fn text(host: &str, vars: &Vars, wanted: &[Var]) -> Result<Option<String>, String> {
    match vars.last_of(wanted) {
        None => Ok(None),
        Some((var, Value::Vault)) => Err(wrong(host, var, "it is encrypted by ansible-vault, which is not read here")),
        Some((var, Value::Text(text))) if text.contains("{{") || text.contains("{%") => {
            let text: String = text.chars().take(60).flat_map(char::escape_debug).collect();
            Err(wrong(
                host,
                var,
                &format!("it is a template, {text}, and templates are not evaluated; write the value"),
            ))
        }
        Some((_, Value::Text(text))) if text.is_empty() => Ok(None),
        Some((_, Value::Text(text))) => Ok(Some(text.clone())),
        Some((_, Value::Other)) => Ok(None),
    }
}

fn wrong(host: &str, var: Var, why: &str) -> String {
    format!("{} of the host {}: {why}", var.name(), host.escape_debug())
}

fn parsed(host: &str, text: &str) -> Result<Hop, String> {
    let path: HostPath = text.parse().map_err(|error: PathError| {
        format!("the way to the host {}, as its inventory says: {error}", host.escape_debug())
    })?;
    match path.hops.into_iter().next() {
        Some(hop) => Ok(hop),
        None => Err(format!("the host {} has no way to it", host.escape_debug())),
    }
}

/// The method of `ansible_connection`, which may have the name of a collection in front.
fn method(host: &str, connection: &str) -> Result<Method, String> {
    match connection.rsplit('.').next().unwrap_or_default() {
        "ssh" | "smart" | "paramiko" | "paramiko_ssh" | "libssh" => Ok(Method::Ssh),
        "docker_api" => Method::by_name("docker").ok_or_else(String::new),
        name => match Method::by_name(name) {
            Some(method @ (Method::Local | Method::Container(_))) => Ok(method),
            _ => {
                let (connection, left_out) = (connection.escape_debug(), host.escape_debug());
                let why = format!("there is no method `{connection}`; leave out the host with -x {left_out}");
                Err(wrong(host, Var::CONNECTION[0], &why))
            }
        },
    }
}

/// A path of a key, with the home directory in place of `~`.
fn home(path: &str) -> String {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) if !home.is_empty() => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

/// Puts the way of a host together from its path, in which `resolve` has replaced other hosts.
///
/// # Errors
///
/// If the path is too long.
pub(crate) fn join(name: &str, way: Way, path: Option<Vec<Hop>>) -> Result<Vec<Hop>, String> {
    let mut hops = path.unwrap_or_default();
    let is_own = |hop: &Hop| hop.method == Method::Ssh && hop.target == name && hop.inventory.is_none();
    match hops.iter().rposition(is_own) {
        Some(at) => hops[at] = way.own,
        None if hops.is_empty() => hops.push(way.own),
        None => {}
    }
    let becomes = way.becomes.filter(|_| hops.last().is_none_or(|last| !Method::BECOMING.contains(&last.method)));
    hops.extend(becomes);
    if hops.len() > MAX_HOPS {
        return Err(format!("the way to the host {} has more than {MAX_HOPS} hops", name.escape_debug()));
    }
    Ok(hops)
}
