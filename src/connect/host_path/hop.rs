//! A hop of a path: the target, the method, and the user.

use crate::connect::host_path::fault::{Fault, Span};
use crate::connect::host_path::word::{Piece, Set, Token};
use crate::connect::host_path::{Hop, MethodName};
use crate::connect::methods::SetnsKind;

/// Longest name of a user, host or container, in bytes.
pub(crate) const MAX_NAME: usize = 255;

/// Characters that OpenSSH refuses in the name of a host or of a user, because the user's own ProxyCommand may
/// pass these names to a shell.
const NOT_IN_SSH_HOST: &str = "'`\"$\\;&<>|(){}";
const NOT_IN_SSH_USER: &str = "'`\";&<>|(){}";

/// Pieces of a hop, each with its role.
pub(crate) type Parts<S> = Vec<(Role, Token<S>)>;

/// A hop as it was written. With a set in it, it stands for several hops.
#[derive(Debug)]
pub(crate) struct Pattern<S> {
    pub(crate) parts: Parts<S>,
    /// Its place in the line.
    pub(crate) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `ssh:`, `@` and `:`, which are only part of the spelling.
    Mark,
    User,
    Target,
    Port,
}

impl<S: Set> Pattern<S> {
    /// Reads `METHOD:USER@TARGET:PORT` or a part of it.
    pub(crate) fn parse(tokens: Vec<Token<S>>) -> Result<(MethodName, Self), Fault> {
        let span = whole(&tokens);
        let (method, parts) = hop(tokens, span)?;
        let pattern = Self { parts, span };
        pattern.check(method)?;
        Ok((method, pattern))
    }

    /// The hop that is written in `spelled`.
    pub(crate) fn hop(&self, method: MethodName, spelled: &Spelled) -> Result<Hop, Fault> {
        let port = self.check_spelled(spelled)?;
        let user = (!spelled.user.is_empty()).then(|| spelled.user.clone());
        Ok(Hop {
            method,
            target: spelled.target_of(method).to_owned(),
            user,
            port,
            #[cfg(feature = "cli")]
            inventory: None,
        })
    }

    /// Checks what can be checked only in the written-out name. Returns the port.
    pub(crate) fn check_spelled(&self, spelled: &Spelled) -> Result<Option<u16>, Fault> {
        if spelled.target.len() > MAX_NAME || spelled.user.len() > MAX_NAME {
            let message = format!("a name in this is longer than {MAX_NAME} bytes; no host or user has such a name");
            return Err(Fault::limit(self.span, message));
        }
        match spelled.port.as_str() {
            "" => Ok(None),
            port => match port.parse() {
                Ok(number) if number != 0 => Ok(Some(number)),
                _ => {
                    let message = format!("{port} is not a port; ports are 1 to 65535");
                    Err(Fault::syntax(self.span_of(Role::Port), message))
                }
            },
        }
    }

    /// Writes one of the hops that this stands for. `write` is called for each set, in order, and writes one of
    /// its members.
    pub(crate) fn spell(&self, spelled: &mut Spelled, mut write: impl FnMut(&S, &mut String)) {
        spelled.clear();
        for (role, token) in &self.parts {
            let Spelled { text, user, target, port } = spelled;
            let value = match role {
                Role::Mark => None,
                Role::User => Some(user),
                Role::Target => Some(target),
                Role::Port => Some(port),
            };
            let (piece, open, close) = match &token.piece {
                Piece::Plain(plain) => (plain.as_str(), "", ""),
                Piece::Quoted(quoted) => (quoted.as_str(), "{", "}"),
                Piece::Address(address) => (address.as_str(), "[", "]"),
                Piece::Set(set) => {
                    let begin = text.len();
                    write(set, text);
                    value.into_iter().for_each(|value| value.push_str(&text[begin..]));
                    continue;
                }
            };
            text.push_str(open);
            text.push_str(piece);
            text.push_str(close);
            value.into_iter().for_each(|value| value.push_str(piece));
        }
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Token<S>> {
        self.parts.iter().filter(move |(r, _)| *r == role).map(|(_, token)| token)
    }

    fn span_of(&self, role: Role) -> Span {
        let tokens: Vec<Token<S>> = self.of(role).cloned().collect();
        if tokens.is_empty() { self.span } else { whole(&tokens) }
    }

    fn check(&self, method: MethodName) -> Result<(), Fault> {
        for role in [Role::User, Role::Target] {
            if let Some(token) = self.of(role).next()
                && let Piece::Plain(text) | Piece::Quoted(text) = &token.piece
                && text.starts_with('-')
            {
                let message =
                    "a name cannot begin with `-`, which would make it an option; a `-` that stands alone is stdin";
                return Err(Fault::syntax(token.span, message));
            }
        }
        let host_is_address = method == MethodName::Ssh && self.of(Role::Target).count() == 1;
        for (role, token) in &self.parts {
            match &token.piece {
                Piece::Address(_) if *role == Role::Target && host_is_address => {}
                Piece::Address(_) => {
                    let message = "an IPv6 address can only be a whole ssh host: deploy@[fe80::1]:22";
                    return Err(Fault::syntax(token.span, message));
                }
                Piece::Quoted(text) if method == MethodName::Ssh => check_ssh(*role, text, token.span)?,
                _ => {}
            }
        }
        if method == MethodName::Setns {
            self.check_setns()?;
        }
        Ok(())
    }

    fn check_setns(&self) -> Result<(), Fault> {
        // The kind ends at the first colon, so it can be checked before sets are written out.
        let mut first = Spelled::default();
        self.spell(&mut first, S::write_first);
        match first.target.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                SetnsKind::by_name(kind).map(drop).map_err(|why| Fault::syntax(self.span, why))
            }
            _ => {
                let message = "setns needs the kind of container and its name: setns:docker:app";
                Err(Fault::syntax(self.span, message))
            }
        }
    }
}

/// One of the hops that a pattern stands for.
#[derive(Debug, Default)]
pub(crate) struct Spelled {
    pub(crate) text: String,
    pub(crate) user: String,
    pub(crate) target: String,
    port: String,
}

impl Spelled {
    fn clear(&mut self) {
        let Self { text, user, target, port } = self;
        [text, user, target, port].into_iter().for_each(String::clear);
    }

    pub(crate) fn target_of(&self, method: MethodName) -> &str {
        match self.target.as_str() {
            "" => method.default_target().unwrap_or_default(),
            target => target,
        }
    }
}

fn hop<S: Set>(tokens: Vec<Token<S>>, span: Span) -> Result<(MethodName, Parts<S>), Fault> {
    if let [Token { piece: Piece::Plain(name), .. }] = tokens.as_slice()
        && let Some(method) = MethodName::by_name(name)
    {
        if method.default_target().is_none() {
            let message =
                format!("{method} needs a target: {method}:NAME; for a host called {method} write ssh:{method}");
            return Err(Fault::syntax(span, message));
        }
        return Ok((method, with_role(Role::Mark, tokens)));
    }
    if is_numbered_local(&tokens) {
        return Ok((MethodName::Local, with_role(Role::Target, tokens)));
    }
    let (named, mark, body) = match method_prefix(&tokens) {
        Some((method, len)) => {
            let (mark, body) = divide(tokens, (0, len));
            (Some(method), mark, body)
        }
        None => (None, Vec::new(), tokens),
    };
    let method = named.unwrap_or(MethodName::Ssh);
    if body.is_empty() {
        let message = format!("the target is missing after `{method}:`");
        return Err(Fault::syntax(span, message));
    }
    let mut parts = with_role(Role::Mark, mark);
    let body = take_user(method, body, &mut parts)?;
    match method {
        MethodName::Ssh => ssh_host(body, named.is_some(), &mut parts)?,
        _ => parts.extend(with_role(Role::Target, body)),
    }
    Ok((method, parts))
}

/// Moves `USER@` from `body` to `parts`, if it is there.
fn take_user<S: Set>(method: MethodName, body: Vec<Token<S>>, parts: &mut Parts<S>) -> Result<Vec<Token<S>>, Fault> {
    let Some(&(index, at)) = find_all(&body, '@').last() else {
        return Ok(body);
    };
    // The name of a user in a domain may contain `@`.
    if matches!(method, MethodName::Sudo | MethodName::Su | MethodName::Doas) {
        return Ok(body);
    }
    let span = Span::new(body[index].span.at + at, 1);
    if !method.takes_user() {
        let message = format!("{method} takes no user; put a hop behind it: {method}:NAME/su:USER");
        return Err(Fault::syntax(span, message));
    }
    let (user, rest) = divide(body, (index, at));
    let (mark, target) = divide(rest, (0, 1));
    if user.is_empty() {
        return Err(Fault::syntax(span, "the user is missing before `@`"));
    }
    if target.is_empty() {
        return Err(Fault::syntax(span, "the target is missing after `@`"));
    }
    parts.extend(with_role(Role::User, user));
    parts.extend(with_role(Role::Mark, mark));
    Ok(target)
}

fn ssh_host<S: Set>(body: Vec<Token<S>>, is_named: bool, parts: &mut Parts<S>) -> Result<(), Fault> {
    let span = whole(&body);
    let colons = find_all(&body, ':');
    let &[colon] = colons.as_slice() else {
        if colons.is_empty() {
            parts.extend(with_role(Role::Target, body));
            return Ok(());
        }
        let message = match method_prefix(&body) {
            Some((method, _)) if !is_named => user_first(method),
            _ => "too many colons; an IPv6 address stands in brackets: [fe80::1]:22".into(),
        };
        return Err(Fault::syntax(span, message));
    };
    let colon_span = Span::new(body[colon.0].span.at + colon.1, 1);
    let (host, rest) = divide(body, colon);
    let (mark, port) = divide(rest, (0, 1));
    if host.is_empty() {
        return Err(Fault::syntax(colon_span, "the host is missing before `:`"));
    }
    if port.is_empty() {
        return Err(Fault::syntax(colon_span, "the port is missing after `:`"));
    }
    let is_digits = |token: &Token<S>| match &token.piece {
        Piece::Plain(text) => text.bytes().all(|b| b.is_ascii_digit()),
        Piece::Set(_) => true,
        _ => false,
    };
    if !port.iter().all(is_digits) {
        return Err(not_a_port(&host, &port, is_named));
    }
    parts.extend(with_role(Role::Target, host));
    parts.extend(with_role(Role::Mark, mark));
    parts.extend(with_role(Role::Port, port));
    Ok(())
}

fn user_first(method: MethodName) -> String {
    format!("a user stands behind the method: {method}:USER@NAME")
}

/// The error for a wrong port. In `dockr:app` the mistake is more likely in the method than in the port.
fn not_a_port<S>(host: &[Token<S>], port: &[Token<S>], is_named: bool) -> Fault {
    if let [Token { piece: Piece::Plain(name), span }] = host
        && !is_named
    {
        if let Some(method) = MethodName::by_name(name) {
            return Fault::syntax(*span, user_first(method));
        }
        let meant = match MethodName::like(name) {
            Some(method) => format!("did you mean {method}?"),
            None => {
                let names = MethodName::all().map(MethodName::as_str).collect::<Vec<_>>().join(" ");
                format!("there are {names}; and after a host only a port can follow")
            }
        };
        return Fault::syntax(*span, format!("`{name}` is not a method; {meant}"));
    }
    Fault::syntax(whole(port), "only a port, 1 to 65535, can follow the host")
}

fn check_ssh(role: Role, text: &str, span: Span) -> Result<(), Fault> {
    let (what, refused) = match role {
        Role::User => ("user", NOT_IN_SSH_USER),
        _ => ("host", NOT_IN_SSH_HOST),
    };
    match text.chars().find(|c| c.is_whitespace() || refused.contains(*c)) {
        Some(c) => Err(Fault::syntax(span, format!("ssh does not accept `{c}` in the name of a {what}"))),
        None => Ok(()),
    }
}

/// Whether this is the name of a local child such as `local1` or `local[1-3]`.
fn is_numbered_local<S>(tokens: &[Token<S>]) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let Some((Token { piece: Piece::Plain(first), .. }, rest)) = tokens.split_first() else {
        return false;
    };
    let Some(number) = first.strip_prefix(MethodName::Local.as_str()) else {
        return false;
    };
    digits(number)
        && rest.iter().all(|token| match &token.piece {
            Piece::Plain(text) => digits(text),
            Piece::Set(_) => true,
            _ => false,
        })
}

/// The method that the first piece names, and the length of its name and the colon.
fn method_prefix<S>(tokens: &[Token<S>]) -> Option<(MethodName, usize)> {
    let Piece::Plain(text) = &tokens.first()?.piece else {
        return None;
    };
    let (name, _) = text.split_once(':')?;
    Some((MethodName::by_name(name)?, name.len() + 1))
}

/// The positions of an ASCII character in plain pieces: the index of the piece, and the byte in it.
fn find_all<S>(tokens: &[Token<S>], wanted: char) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if let Piece::Plain(text) = &token.piece {
            places.extend(text.match_indices(wanted).map(|(at, _)| (index, at)));
        }
    }
    places
}

/// Splits the tokens before a byte of a plain piece. No piece of the two halves is empty.
fn divide<S>(mut tokens: Vec<Token<S>>, (index, at): (usize, usize)) -> (Vec<Token<S>>, Vec<Token<S>>) {
    let mut right = tokens.split_off(index);
    if let Some(Token { piece: Piece::Plain(text), span }) = right.first_mut() {
        let tail = text.split_off(at);
        let head = std::mem::replace(text, tail);
        let head_span = Span::new(span.at, at);
        *span = Span::new(span.at + at, span.len - at);
        if text.is_empty() {
            right.remove(0);
        }
        if !head.is_empty() {
            tokens.push(Token { piece: Piece::Plain(head), span: head_span });
        }
    }
    (tokens, right)
}

/// The tokens after `prefix`, for the names of groups.
#[cfg(feature = "cli")]
pub(crate) fn strip<S: Clone>(tokens: &[Token<S>], prefix: &str) -> Option<Vec<Token<S>>> {
    match &tokens.first()?.piece {
        Piece::Plain(text) if text.starts_with(prefix) => Some(divide(tokens.to_vec(), (0, prefix.len())).1),
        _ => None,
    }
}

fn with_role<S>(role: Role, tokens: Vec<Token<S>>) -> Parts<S> {
    tokens.into_iter().map(|token| (role, token)).collect()
}

pub(crate) fn whole<S>(tokens: &[Token<S>]) -> Span {
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => Span::new(first.span.at, last.span.at + last.span.len - first.span.at),
        _ => Span::new(0, 0),
    }
}
