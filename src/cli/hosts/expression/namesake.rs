//! Hosts of inventories that have the name of a child of this machine, such as `local2`.

use super::Evaluator;
use super::line::Line;
use crate::cli::hosts::expression_error::ExprError;
use crate::cli::hosts::names::{Names, Set};
use crate::cli::hosts::path::Method;

impl Evaluator<'_> {
    /// Has names such as `local2` stand for hosts of an inventory that are called so, where `beside` contains them. There
    /// such a host is `ssh:{local2}`. Without this, `@web!local2` would reach a host that someone leaves out.
    pub(super) fn with_namesakes(&mut self, names: Names, beside: &Set) -> Result<Names, ExprError> {
        if !names.iter().any(is_name_of_child) {
            return Ok(names);
        }
        let mut all = self.empty.empty();
        for nth in 0..names.len() {
            let mut is_meant = true;
            if is_name_of_child(names.text(nth)) {
                let mut namesake = self.empty.empty();
                let text = format!("ssh:{{{}}}", names.text(nth));
                self.line(&Line { text: &text, place: None }, &mut namesake)?;
                if !namesake.is_empty() && beside.contains(&namesake, 0) {
                    all.extend(&namesake);
                    is_meant = beside.contains(&names, nth);
                }
            }
            if is_meant {
                all.copy(&names, nth);
            }
        }
        Ok(all)
    }
}

/// Whether this is the name of a child of this machine, such as `local2`.
fn is_name_of_child(name: &str) -> bool {
    name.starts_with(Method::Local.as_str()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether an operand names children of this machine and nothing else, as `local2` and `local[1-3]`.
pub(super) fn is_bare_child(operand: &str) -> bool {
    operand.trim_end().starts_with(Method::Local.as_str()) && !operand.contains(['/', ':', '@', '{'])
}
