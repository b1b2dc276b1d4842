//! Times on the command line: `30`, `30s`, `1.5s`, `1h30m`, `250ms`.

use std::time::Duration;

/// The longest time. A longer one is surely a mistake, and would overflow timers.
const MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Units and their lengths in milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a time. A number without a unit is in seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is not a time; write 30s, 5m, 1h30m or 250ms", text.escape_debug());
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        // Only a time that is one number may omit the unit: in 1m30 the unit was forgotten.
        let unit = if unit.is_empty() && rest.len() == text.len() { "s" } else { unit };
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = millis(number, *unit).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    let duration = Duration::from_millis(total);
    if text.is_empty() {
        return Err(wrong());
    }
    if duration.is_zero() {
        return Err("a time must be longer than 0; leave the option out for its default".into());
    }
    if duration > MAX {
        return Err(format!("{text} is too long; at most 365d"));
    }
    Ok(duration)
}

/// Converts a decimal number of units to whole milliseconds.
fn millis(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let mut total = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let mut unit = unit;
    for digit in fraction.bytes() {
        let digit = char::from(digit).to_digit(10)?;
        // A time below one millisecond cannot be represented.
        if (unit == 0 || !unit.is_multiple_of(10)) && digit != 0 {
            return None;
        }
        unit /= 10;
        total = total.checked_add(u64::from(digit) * unit)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        for (text, millis) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("250ms", 250),
            ("1.5", 1_500),
            ("1.5s", 1_500),
            ("0.25s", 250),
            ("0.001s", 1),
            ("1.50m", 90_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "1x",
            "1m30",
            "1 s",
            "1.s",
            ".5s",
            "1.2.3s",
            "1S",
            "0.0001s",
            "99999999999999999999",
            "18446744073709551615d",
            "1e3",
            "0.5ms",
            "1.05ms",
            "0.00001s",
            "inf",
            "NaN",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("write 30s"), "{text}: {error}");
        }
        assert!(parse("0").unwrap_err().contains("longer than 0"));
        assert!(parse("0s0ms").unwrap_err().contains("longer than 0"));
        assert!(parse("366d").unwrap_err().contains("at most"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[0-9.dhms]{0,24}") {
            let _ = parse(&text);
        }
    }
}
