//! What stands between two slashes of a word: a hop, or a group of paths.

use crate::cli::hosts::expression_error::{Fault, Span};
use crate::cli::hosts::numbers::{Cursor, Numbers};
use crate::cli::hosts::path::{self, Hop, Method};
use crate::cli::hosts::pattern::{Piece, Token};

/// Longest name of a user, host or container, in bytes.
pub(crate) const MAX_NAME: usize = 255;

/// What OpenSSH does not accept in the name of a host, and in that of a user:
/// the user's own ProxyCommand may hand them to a shell.
const NOT_IN_SSH_HOST: &str = "'`\"$\\;&<>|(){}";
const NOT_IN_SSH_USER: &str = "'`\";&<>|(){}";

#[derive(Debug)]
pub(crate) enum Segment {
    /// `@name`, which stands for paths.
    Group(Pattern),
    /// `METHOD:USER@TARGET:PORT` or a part of it.
    Hop(Method, Pattern),
}

impl Segment {
    pub(crate) fn parse(tokens: Vec<Token>) -> Result<Self, Fault> {
        let span = whole(&tokens);
        if let Some(tokens) = strip(&tokens, "@") {
            return group(tokens, span).map(Self::Group);
        }
        let (method, parts) = hop(tokens, span)?;
        let pattern = Pattern { parts, span };
        pattern.check(method)?;
        Ok(Self::Hop(method, pattern))
    }
}

/// Pieces, each with the part it plays. Numbers in it make it stand for many.
#[derive(Debug)]
pub(crate) struct Pattern {
    parts: Vec<(Role, Token)>,
    /// Where it stands.
    pub(crate) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `ssh:`, `@` and `:`, which belong to the spelling only.
    Mark,
    User,
    Target,
    Port,
}

impl Pattern {
    /// How many there are, doubles included. Costs nothing, however many.
    pub(crate) fn count(&self) -> u64 {
        let counts = self.parts.iter().map(|(_, token)| match &token.piece {
            Piece::Numbers(numbers) => numbers.count(),
            _ => 1,
        });
        counts.fold(1, u64::saturating_mul)
    }

    /// The names of groups that it stands for.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let collected: Result<(), Fault> = self.each_spelled(|spelled| {
            names.push(spelled.target.clone());
            Ok(())
        });
        debug_assert!(collected.is_ok(), "nothing is refused");
        names
    }

    /// The hops that it stands for, each with its spelling; the last numbers
    /// vary fastest. Ask for [`Pattern::count`] first.
    pub(crate) fn hops(&self, method: Method) -> Result<Vec<(String, Hop)>, Fault> {
        let mut hops = Vec::new();
        self.each_spelled(|spelled| {
            let port = self.check_spelled(spelled)?;
            let target = spelled.target_of(method).to_owned();
            let user = (!spelled.user.is_empty()).then(|| spelled.user.clone());
            hops.push((spelled.text.clone(), Hop { method, target, user, port }));
            Ok(())
        })?;
        Ok(hops)
    }

    /// Hands over the spelling and the key of each hop that it stands for, in
    /// the order of [`Pattern::hops`].
    pub(crate) fn each<E: From<Fault>>(
        &self,
        method: Method,
        mut take: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut key = String::new();
        self.each_spelled(|spelled| {
            let port = self.check_spelled(spelled)?;
            key.clear();
            path::write_key(method, &spelled.user, spelled.target_of(method), port, &mut key);
            take(&spelled.text, &key)
        })
    }

    /// What only the written-out name shows. Returns the port.
    fn check_spelled(&self, spelled: &Spelled) -> Result<Option<u16>, Fault> {
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

    fn each_spelled<E>(&self, mut take: impl FnMut(&Spelled) -> Result<(), E>) -> Result<(), E> {
        let mut cursors: Vec<Cursor<'_>> = self.numbers().map(Numbers::cursor).collect();
        let mut spelled = Spelled::default();
        loop {
            self.spell(&cursors, &mut spelled);
            take(&spelled)?;
            // As an odometer: the last one that is not at its end moves on.
            if !cursors.iter_mut().rev().any(Cursor::advance) {
                return Ok(());
            }
        }
    }

    fn numbers(&self) -> impl Iterator<Item = &Numbers> {
        self.parts.iter().filter_map(|(_, token)| match &token.piece {
            Piece::Numbers(numbers) => Some(numbers),
            _ => None,
        })
    }

    fn spell(&self, cursors: &[Cursor<'_>], spelled: &mut Spelled) {
        spelled.clear();
        let mut cursors = cursors.iter();
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
                Piece::Numbers(_) => {
                    let begin = text.len();
                    cursors.next().into_iter().for_each(|cursor| cursor.write(text));
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

    fn of(&self, role: Role) -> impl Iterator<Item = &Token> {
        self.parts.iter().filter(move |(r, _)| *r == role).map(|(_, token)| token)
    }

    fn span_of(&self, role: Role) -> Span {
        let tokens: Vec<Token> = self.of(role).cloned().collect();
        if tokens.is_empty() { self.span } else { whole(&tokens) }
    }

    fn check(&self, method: Method) -> Result<(), Fault> {
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
        let host_is_address = method == Method::Ssh && self.of(Role::Target).count() == 1;
        for (role, token) in &self.parts {
            match &token.piece {
                Piece::Address(_) if *role == Role::Target && host_is_address => {}
                Piece::Address(_) => {
                    let message = "an IPv6 address can only be a whole ssh host: deploy@[fe80::1]:22";
                    return Err(Fault::syntax(token.span, message));
                }
                Piece::Quoted(text) if method == Method::Ssh => check_ssh(*role, text, token.span)?,
                _ => {}
            }
        }
        if method == Method::Setns {
            self.check_setns()?;
        }
        Ok(())
    }

    fn check_setns(&self) -> Result<(), Fault> {
        // The kind ends at the first colon, so it can be checked before numbers
        // are written out.
        let mut first = Spelled::default();
        self.spell(&self.numbers().map(Numbers::cursor).collect::<Vec<_>>(), &mut first);
        match first.target.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(()),
            _ => {
                let message = "setns needs the kind of container and its name: setns:docker:app";
                Err(Fault::syntax(self.span, message))
            }
        }
    }
}

/// One of what a pattern stands for.
#[derive(Debug, Default)]
struct Spelled {
    text: String,
    user: String,
    target: String,
    port: String,
}

impl Spelled {
    fn clear(&mut self) {
        let Self { text, user, target, port } = self;
        [text, user, target, port].into_iter().for_each(String::clear);
    }

    fn target_of(&self, method: Method) -> &str {
        match self.target.as_str() {
            "" => method.default_target().unwrap_or_default(),
            target => target,
        }
    }
}

fn group(tokens: Vec<Token>, span: Span) -> Result<Pattern, Fault> {
    if tokens.is_empty() {
        return Err(Fault::syntax(span, "the name of a group is missing after `@`"));
    }
    if let Some(token) = tokens.iter().find(|token| matches!(token.piece, Piece::Address(_))) {
        return Err(Fault::syntax(token.span, "an address cannot be the name of a group"));
    }
    let parts = tokens.into_iter().map(|token| (Role::Target, token)).collect();
    Ok(Pattern { parts, span })
}

fn hop(tokens: Vec<Token>, span: Span) -> Result<(Method, Vec<(Role, Token)>), Fault> {
    if let [Token { piece: Piece::Plain(name), .. }] = tokens.as_slice()
        && let Some(method) = Method::by_name(name)
    {
        if method.default_target().is_none() {
            let message =
                format!("{method} needs a target: {method}:NAME; for a host called {method} write ssh:{method}");
            return Err(Fault::syntax(span, message));
        }
        return Ok((method, with_role(Role::Mark, tokens)));
    }
    if is_numbered_local(&tokens) {
        return Ok((Method::Local, with_role(Role::Target, tokens)));
    }
    let (named, mark, body) = match method_prefix(&tokens) {
        Some((method, len)) => {
            let (mark, body) = divide(tokens, (0, len));
            (Some(method), mark, body)
        }
        None => (None, Vec::new(), tokens),
    };
    let method = named.unwrap_or(Method::Ssh);
    if body.is_empty() {
        let message = format!("the target is missing after `{method}:`");
        return Err(Fault::syntax(span, message));
    }
    let mut parts = with_role(Role::Mark, mark);
    let body = take_user(method, body, &mut parts)?;
    match method {
        Method::Ssh => ssh_host(body, named.is_some(), &mut parts)?,
        _ => parts.extend(with_role(Role::Target, body)),
    }
    Ok((method, parts))
}

/// Moves `USER@`, if it is there, from `body` to `parts`.
fn take_user(method: Method, body: Vec<Token>, parts: &mut Vec<(Role, Token)>) -> Result<Vec<Token>, Fault> {
    let Some(&(index, at)) = find_all(&body, '@').last() else {
        return Ok(body);
    };
    // Names of users may hold one, in domains.
    if matches!(method, Method::Sudo | Method::Su | Method::Doas) {
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

fn ssh_host(body: Vec<Token>, is_named: bool, parts: &mut Vec<(Role, Token)>) -> Result<(), Fault> {
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
    let is_digits = |token: &Token| match &token.piece {
        Piece::Plain(text) => text.bytes().all(|b| b.is_ascii_digit()),
        Piece::Numbers(_) => true,
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

fn user_first(method: Method) -> String {
    format!("a user stands behind the method: {method}:USER@NAME")
}

/// `dockr:app` is rather a slip in the method than in the port.
fn not_a_port(host: &[Token], port: &[Token], is_named: bool) -> Fault {
    if let [Token { piece: Piece::Plain(name), span }] = host
        && !is_named
    {
        if let Some(method) = Method::by_name(name) {
            return Fault::syntax(*span, user_first(method));
        }
        let meant = match Method::like(name) {
            Some(method) => format!("did you mean {method}?"),
            None => {
                let names = Method::all().map(Method::as_str).collect::<Vec<_>>().join(" ");
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

/// `local1` and `local[1-3]` are children of their own names.
fn is_numbered_local(tokens: &[Token]) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let Some((Token { piece: Piece::Plain(first), .. }, rest)) = tokens.split_first() else {
        return false;
    };
    let Some(number) = first.strip_prefix(Method::Local.as_str()) else {
        return false;
    };
    digits(number)
        && rest.iter().all(|token| match &token.piece {
            Piece::Plain(text) => digits(text),
            Piece::Numbers(_) => true,
            _ => false,
        })
}

/// The method that the first piece names, and the length of the name with its
/// colon.
fn method_prefix(tokens: &[Token]) -> Option<(Method, usize)> {
    let Piece::Plain(text) = &tokens.first()?.piece else {
        return None;
    };
    let (name, _) = text.split_once(':')?;
    Some((Method::by_name(name)?, name.len() + 1))
}

/// Every place of an ASCII character in plain pieces: the piece, and the byte
/// in it.
fn find_all(tokens: &[Token], wanted: char) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if let Piece::Plain(text) = &token.piece {
            places.extend(text.match_indices(wanted).map(|(at, _)| (index, at)));
        }
    }
    places
}

/// Divides before a byte of a plain piece. Neither half has an empty piece.
fn divide(mut tokens: Vec<Token>, (index, at): (usize, usize)) -> (Vec<Token>, Vec<Token>) {
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

fn strip(tokens: &[Token], prefix: &str) -> Option<Vec<Token>> {
    match &tokens.first()?.piece {
        Piece::Plain(text) if text.starts_with(prefix) => Some(divide(tokens.to_vec(), (0, prefix.len())).1),
        _ => None,
    }
}

fn with_role(role: Role, tokens: Vec<Token>) -> Vec<(Role, Token)> {
    tokens.into_iter().map(|token| (role, token)).collect()
}

fn whole(tokens: &[Token]) -> Span {
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => Span::new(first.span.at, last.span.at + last.span.len - first.span.at),
        _ => Span::new(0, 0),
    }
}

#[cfg(test)]
mod tests;
