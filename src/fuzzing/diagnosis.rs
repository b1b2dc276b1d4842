//! What the messages of other programs mean.

use crate::connect::bootstrap::Diagnosis;
use crate::connect::methods::INTERPRETERS;
use crate::fuzzing::checks;
use crate::wire::error::{ConnectErrorKind, Reader};
use crate::wire::sanitize::stripped;

/// The first byte chooses the program. The others are what it has printed, as lines.
pub(super) fn diagnosis(bytes: &[u8]) {
    let Some((program, output)) = bytes.split_first() else { return };
    let lines: Vec<String> = output.split(|byte| *byte == b'\n').map(stripped).collect();
    let interpret = INTERPRETERS[usize::from(*program) % INTERPRETERS.len()];
    interpret(&lines).iter().for_each(means);
    // Words that the user has given: the first two lines.
    let words = lines.iter().take(2).filter(|line| !line.is_empty());
    let words: Vec<_> = words.map(|line| (line.clone(), ConnectErrorKind::Auth, "see the manual".to_owned())).collect();
    let by_words = Diagnosis::by_words(&words, &lines);
    assert_eq!(by_words.is_some(), !words.is_empty(), "each of the words is in the lines");
    by_words.iter().for_each(means);
}

fn means(diagnosis: &Diagnosis) {
    checks::tells(&diagnosis.text);
    checks::harmless(&diagnosis.advice);
    for reader in [Reader::Tool, Reader::Program] {
        checks::harmless(&reader.words(&diagnosis.advice));
    }
}
