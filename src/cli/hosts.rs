//! `offshoot hosts`: shows what an expression stands for.

use super::args::HostsArgs;
use super::expr::Expansion;
use super::fold::fold;

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
    use super::super::expr::expand;
    use super::super::sources::Reading;
    use super::*;

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
