//! How a run is divided into batches: `1,10%,rest`.

use crate::cli::share::Share;

/// The sizes of the batches. The last one repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batches(Vec<Size>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Share(Share),
    /// All hosts that are left.
    Rest,
}

impl Batches {
    /// Reads a list of sizes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut sizes = Vec::new();
        for word in text.split(',') {
            if sizes.last() == Some(&Size::Rest) {
                return Err("`rest` takes all hosts that are left, so no size can follow it".into());
            }
            sizes.push(match word {
                "rest" => Size::Rest,
                word => match Share::parse(word) {
                    Ok(share) if share.is_zero() => return Err("a batch has at least one host".into()),
                    Ok(share) => Size::Share(share),
                    Err(why) => return Err(format!("{why}, or a list such as 1,10%,rest")),
                },
            });
        }
        Ok(Self(sizes))
    }

    /// Where each batch ends, as an index into the hosts. The ends increase, and the last is `hosts`. A batch
    /// has at least one host, also if its share is less than that.
    pub(crate) fn ends(&self, hosts: usize) -> Vec<usize> {
        let (mut ends, mut end) = (Vec::new(), 0);
        let last = self.0.last().copied().unwrap_or(Size::Rest);
        let mut sizes = self.0.iter().copied().chain(std::iter::repeat(last));
        while end < hosts {
            end = match sizes.next() {
                Some(Size::Share(share)) => (end + share.of(hosts).max(1)).min(hosts),
                Some(Size::Rest) | None => hosts,
            };
            ends.push(end);
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(text: &str, hosts: usize) -> Vec<usize> {
        Batches::parse(text).unwrap().ends(hosts)
    }

    #[test]
    fn batches_have_the_given_sizes_and_the_last_repeats() {
        assert_eq!(ends("1,10%,rest", 50), [1, 6, 50]);
        assert_eq!(ends("10", 25), [10, 20, 25]);
        assert_eq!(ends("1,2", 6), [1, 3, 5, 6]);
        assert_eq!(ends("50%", 3), [1, 2, 3]);
        assert_eq!(ends("1%", 3), [1, 2, 3]);
        assert_eq!(ends("rest", 3), [3]);
        assert_eq!(ends("5,rest", 3), [3]);
        assert_eq!(ends("5", 0), [0; 0]);
    }

    #[test]
    fn other_sizes_are_refused() {
        for (text, says) in [
            ("", "a list such as 1,10%,rest"),
            ("1,", "a list such as 1,10%,rest"),
            ("1,all", "`all` is not a number of hosts"),
            ("0", "at least one host"),
            ("1,0%", "at least one host"),
            ("rest,1", "no size can follow it"),
            ("200%", "at most 100%"),
        ] {
            let error = Batches::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_host_is_in_one_batch(
            sizes in prop::collection::vec(prop_oneof!["[1-9][0-9]{0,2}", "[1-9][0-9]?%"], 1..4),
            hosts in 0..500_usize,
        ) {
            let ends = ends(&sizes.join(","), hosts);
            prop_assert!(ends.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(ends.last().copied().unwrap_or(0), hosts);
        }
    }
}
