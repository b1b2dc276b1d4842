//! Advice for two readers: who uses the tool needs an option, and who writes a program needs a method. A text has both
//! words, as `⟨--ask-pass|password()⟩`, until it is known who reads it.

const BEGIN: char = '⟨';
const BETWEEN: char = '|';
const END: char = '⟩';

/// Who reads an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Who uses the tool.
    #[cfg(feature = "cli")]
    Tool,
    /// Who writes a program.
    Program,
}

impl Reader {
    /// The text with the words for this reader.
    pub(crate) fn words(self, text: &str) -> String {
        let (mut words, mut rest) = (String::new(), text);
        while let Some((before, behind)) = rest.split_once(BEGIN)
            && let Some((both, after)) = behind.split_once(END)
            && let Some((tool, program)) = both.split_once(BETWEEN)
        {
            words.push_str(before);
            words.push_str(match self {
                #[cfg(feature = "cli")]
                Self::Tool => tool,
                Self::Program => {
                    let _ = tool;
                    program
                }
            });
            rest = after;
        }
        words + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_gets_the_own_words_and_no_others() {
        let text = "name it with ⟨-i|identity_file()⟩, or give ⟨-o A=1|a(1)⟩; then try again";
        assert_eq!(Reader::Tool.words(text), "name it with -i, or give -o A=1; then try again");
        assert_eq!(Reader::Program.words(text), "name it with identity_file(), or give a(1); then try again");
        for plain in ["", "nothing | special", "a ⟨ begins", "ends ⟩ only", "⟨none⟩ of them", "cut ⟨-i|identity"]
        {
            assert_eq!(Reader::Tool.words(plain), plain);
            assert_eq!(Reader::Program.words(plain), plain);
        }
    }
}
