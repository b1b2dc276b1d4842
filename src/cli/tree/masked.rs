//! The command of a hop as a line that may be logged: what is secret in it is masked.

use crate::cli::quote;
use crate::cli::secret::Secrets;

/// What stands in place of a secret.
const MASK: &str = "***";

/// How the names of values end that are secret; for ssh, of values that it passes on.
const SECRET: [&str; 8] = ["pass", "passwd", "password", "passphrase", "secret", "token", "apikey", "setenv"];

/// The words as a line for a shell. Where a word has one of the passwords in it, or is the value of a name such as
/// `--token` or `DB_PASSWORD`, a mask stands.
pub(super) fn line(words: &[String], secrets: &Secrets) -> String {
    let mut shown = Vec::with_capacity(words.len());
    let mut is_value = false;
    for word in words {
        shown.push(match is_value && !word.starts_with('-') {
            true => MASK.to_owned(),
            false => masked(word, secrets),
        });
        is_value = word.starts_with("--") && is_secret(word);
    }
    quote::line(shown)
}

fn masked(word: &str, secrets: &Secrets) -> String {
    let mut word = word.to_owned();
    for secret in [&secrets.ssh, &secrets.become_].into_iter().flatten() {
        if !secret.expose().is_empty() {
            word = word.replace(secret.expose(), MASK);
        }
    }
    let value = word.match_indices('=').find(|(at, _)| is_secret(&word[..*at])).map(|(at, _)| at + 1);
    match value {
        Some(at) => format!("{}{MASK}", &word[..at]),
        None => word,
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace(['-', '_'], "");
    SECRET.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn secrets_are_masked_and_the_rest_can_be_copied() {
        let mut secrets = Secrets::default();
        secrets.become_ = Some(Secret::from("sesame"));
        let shown = |words: &[&str]| line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &secrets);
        assert_eq!(shown(&["ssh", "-l", "amy", "a b"]), "ssh -l amy 'a b'");
        assert_eq!(shown(&["tool", "-psesame", "x"]), "tool '-p***' x");
        assert_eq!(shown(&["tool", "--token", "abc", "--api-key=1", "x"]), "tool --token '***' '--api-key=***' x");
        assert_eq!(shown(&["ssh", "-o", "SetEnv=A=b", "DB_PASSWORD=c=d"]), "ssh -o 'SetEnv=***' 'DB_PASSWORD=***'");
        let plain = ["-o", "PasswordAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "--ask-pass", "-n"];
        assert_eq!(shown(&plain), plain.join(" "));
    }
}
