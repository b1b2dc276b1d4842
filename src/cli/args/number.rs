//! Numbers of the command line. An error says which are accepted.

use clap::builder::{StringValueParser, TypedValueParser};

/// Reads a number from `least` to `most`.
pub(super) fn number<T>(least: T, most: T) -> impl TypedValueParser<Value = T>
where
    T: TryFrom<i64> + Into<i64> + Copy + Send + Sync + 'static,
{
    let (least, most) = (least.into(), most.into());
    StringValueParser::new().try_map(move |text| {
        // `+3` is a number for Rust, too.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let found = text.parse::<i64>().ok().filter(|found| is_plain && (least..=most).contains(found));
        let found = found.and_then(|found| T::try_from(found).ok());
        found.ok_or_else(|| match most == i64::from(u32::MAX) {
            true => format!("write a number from {least} on"),
            false => format!("write a number from {least} to {most}"),
        })
    })
}
