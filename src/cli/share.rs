//! A number of hosts: as it is, or in per cent of all hosts of the run.

/// `3` or `10%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Hosts(usize),
    /// 0 to 100.
    Percent(usize),
}

impl Share {
    /// Reads a share.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a number of hosts; write 3 or 10%", text.escape_debug());
        // `+3` is a number for Rust, too.
        let number = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse::<usize>().map_err(|_| wrong()),
            false => Err(wrong()),
        };
        match text.strip_suffix('%') {
            None => number(text).map(Self::Hosts),
            Some(digits) => match number(digits)? {
                percent @ 0..=100 => Ok(Self::Percent(percent)),
                _ => Err(format!("{text} is more than all hosts; write at most 100%")),
            },
        }
    }

    /// How many of `all` hosts that is, rounded down.
    pub(crate) fn of(self, all: usize) -> usize {
        match self {
            Self::Hosts(hosts) => hosts.min(all),
            Self::Percent(percent) => all * percent / 100,
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        matches!(self, Self::Hosts(0) | Self::Percent(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_or_per_cent() {
        for (text, share, of_30) in [
            ("3", Share::Hosts(3), 3),
            ("0", Share::Hosts(0), 0),
            ("99", Share::Hosts(99), 30),
            ("10%", Share::Percent(10), 3),
            ("99%", Share::Percent(99), 29),
            ("100%", Share::Percent(100), 30),
            ("1%", Share::Percent(1), 0),
        ] {
            assert_eq!(Share::parse(text), Ok(share));
            assert_eq!(share.of(30), of_30, "{text}");
        }
        for text in ["", "%", "-1", "+1", "1.5", "1.5%", "ten", "10 %", "10%%", "99999999999999999999"] {
            let error = Share::parse(text).unwrap_err();
            assert!(error.contains("write 3 or 10%"), "{text}: {error}");
        }
        assert!(Share::parse("101%").unwrap_err().contains("at most 100%"));
    }
}
