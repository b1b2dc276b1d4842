//! Hosts behind a hop that are called almost like a method, as `sodu` in `web1/sodu`.

use crate::cli::hosts::hop::Pattern;
use crate::cli::hosts::path::Method;
use crate::cli::hosts::pattern::{Piece, Token};
use crate::connect::host_path::hop::Role;

/// A note if a hop that is read as a host of ssh was probably meant as a method.
pub(super) fn note(pattern: &Pattern) -> Option<String> {
    let [(Role::Target, Token { piece: Piece::Plain(name), .. })] = pattern.parts.as_slice() else { return None };
    let method = Method::meant_by(name)?;
    Some(format!("{name} is read as a host of ssh; did you mean {method}? if not, write ssh:{name}"))
}
