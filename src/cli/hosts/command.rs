//! `offshoot hosts`: shows what an expression stands for.

use crate::cli::args::HostsArgs;
use crate::cli::hosts::expression::Expansion;
use crate::cli::hosts::fold::fold;

/// What is printed on stdout: the hosts one per line, their number, or an
/// expression for them.
pub(crate) fn listing(args: &HostsArgs, expansion: &Expansion) -> String {
    let names: Vec<&str> = expansion.hosts.iter().map(|host| host.text.as_str()).collect();
    let mut text = match (args.count, args.fold) {
        (true, _) => names.len().to_string(),
        (_, true) => fold(&names),
        _ => names.join("\n"),
    };
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hosts::expression::expand;
    use crate::cli::hosts::sources::Reading;

    #[test]
    fn hosts_are_listed_counted_and_folded() {
        let mut sources = Reading::new(|_: &str| Ok(None));
        let expansion = expand(&["web[08-10]", "db1"], &mut sources).unwrap();
        let show = |count, fold| {
            let expressions = Vec::new();
            listing(&HostsArgs { expressions, count, fold }, &expansion)
        };
        assert_eq!(show(false, false), "web08\nweb09\nweb10\ndb1\n");
        assert_eq!(show(true, false), "4\n");
        assert_eq!(show(false, true), "db1,web[08-10]\n");
    }
}
