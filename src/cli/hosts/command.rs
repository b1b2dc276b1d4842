//! `offshoot hosts`: shows what an expression stands for.

use crate::cli::args::HostsArgs;
use crate::cli::hosts::expression::Expansion;
use crate::cli::hosts::fold::fold;
use crate::cli::hosts::names::Names;

/// The output on stdout: the hosts one per line, their number, or an expression for them.
pub(crate) fn listing(args: &HostsArgs, expansion: &Expansion<Names>) -> String {
    let names = &expansion.hosts;
    let mut text = match (args.count, args.fold) {
        (true, _) => names.len().to_string(),
        (_, true) => fold(&names.iter().collect::<Vec<_>>()),
        _ => {
            let mut lines = String::with_capacity(names.bytes() + names.len());
            for (nth, name) in names.iter().enumerate() {
                if nth > 0 {
                    lines.push('\n');
                }
                lines.push_str(name);
            }
            lines
        }
    };
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hosts::expression::list;
    use crate::cli::hosts::sources::Reading;

    #[test]
    fn hosts_are_listed_counted_and_folded() {
        let mut sources = Reading::new(|_: &str| Ok(None));
        let expansion = list(&["web[08-10]", "db1"], &mut sources).unwrap();
        let show = |count, fold| {
            let expressions = Vec::new();
            listing(&HostsArgs { expressions, count, fold }, &expansion)
        };
        assert_eq!(show(false, false), "web08\nweb09\nweb10\ndb1\n");
        assert_eq!(show(true, false), "4\n");
        assert_eq!(show(false, true), "db1,web[08-10]\n");
    }
}
