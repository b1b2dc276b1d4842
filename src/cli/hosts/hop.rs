//! The text between two slashes of a word: a hop, or a group of paths.

use crate::cli::hosts::expression_error::{Fault, Span};
use crate::cli::hosts::numbers::{Cursor, Numbers};
use crate::cli::hosts::path::{self, Hop, Method};
use crate::cli::hosts::pattern::{Piece, Token};
pub(crate) use crate::connect::host_path::hop::MAX_NAME;
use crate::connect::host_path::hop::{Pattern as AnyPattern, Role, Spelled, strip, whole};

/// A hop, or the name of a group. With numbers in brackets, it stands for several.
pub(crate) type Pattern = AnyPattern<Numbers>;

#[derive(Debug)]
pub(crate) enum Segment {
    /// `@name`, which stands for the paths of a group.
    Group(Pattern),
    /// `METHOD:USER@TARGET:PORT` or a part of it.
    Hop(Method, Pattern),
}

impl Segment {
    pub(crate) fn parse(tokens: Vec<Token<Numbers>>) -> Result<Self, Fault> {
        if let Some(name) = strip(&tokens, "@") {
            return group(name, whole(&tokens)).map(Self::Group);
        }
        Pattern::parse(tokens).map(|(method, pattern)| Self::Hop(method, pattern))
    }
}

impl Pattern {
    /// How many hops or groups it stands for, duplicates included. Takes no time, even for a large number.
    pub(crate) fn count(&self) -> u64 {
        let counts = self.parts.iter().map(|(_, token)| match &token.piece {
            Piece::Set(numbers) => numbers.count(),
            _ => 1,
        });
        counts.fold(1, u64::saturating_mul)
    }

    /// The names of the groups that it stands for.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let collected: Result<(), Fault> = self.each_spelled(|spelled| {
            names.push(spelled.target.clone());
            Ok(())
        });
        debug_assert!(collected.is_ok(), "nothing is refused");
        names
    }

    /// The hops that it stands for, each with its spelling. The last numbers vary fastest. Call
    /// [`Pattern::count`] first.
    pub(crate) fn hops(&self, method: Method) -> Result<Vec<(String, Hop)>, Fault> {
        let mut hops = Vec::new();
        self.each_spelled(|spelled| {
            hops.push((spelled.text.clone(), self.hop(method, spelled)?));
            Ok(())
        })?;
        Ok(hops)
    }

    /// Calls a function with the spelling and the key of each hop that it stands for, in the order of
    /// [`Pattern::hops`].
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

    fn each_spelled<E>(&self, mut take: impl FnMut(&Spelled) -> Result<(), E>) -> Result<(), E> {
        let mut cursors: Vec<Cursor<'_>> = self.numbers().map(Numbers::cursor).collect();
        let mut spelled = Spelled::default();
        loop {
            let mut at = cursors.iter();
            self.spell(&mut spelled, |_, text| at.next().into_iter().for_each(|cursor| cursor.write(text)));
            take(&spelled)?;
            // As in an odometer: the last cursor that is not at its end advances.
            if !cursors.iter_mut().rev().any(Cursor::advance) {
                return Ok(());
            }
        }
    }

    fn numbers(&self) -> impl Iterator<Item = &Numbers> {
        self.parts.iter().filter_map(|(_, token)| match &token.piece {
            Piece::Set(numbers) => Some(numbers),
            _ => None,
        })
    }
}

fn group(tokens: Vec<Token<Numbers>>, span: Span) -> Result<Pattern, Fault> {
    if tokens.is_empty() {
        return Err(Fault::syntax(span, "the name of a group is missing after `@`"));
    }
    if let Some(token) = tokens.iter().find(|token| matches!(token.piece, Piece::Address(_))) {
        return Err(Fault::syntax(token.span, "an address cannot be the name of a group"));
    }
    let parts = tokens.into_iter().map(|token| (Role::Target, token)).collect();
    Ok(Pattern { parts, span })
}

#[cfg(test)]
mod tests;
