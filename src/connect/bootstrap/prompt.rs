//! The questions of a launcher before it lets a user in, and their answers.
//!
//! [`Prompts`] decides and does no I/O: the output of the launcher goes in, replies come out. A secret is typed
//! once. A question whose words are not known goes to the caller, or fails with an error that repeats it.

use crate::connect::bootstrap::diagnosis::Diagnosis;
use crate::wire::codec::Secret;
use crate::wire::error::ConnectErrorKind;
use crate::wire::sanitize::stripped;

/// What to do about the output of the launcher.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Type this and a newline.
    Type(Secret),
    /// Get an answer to this question.
    Ask(String),
    Fail(Diagnosis),
}

/// All questions that one launcher may ask.
#[derive(Debug, Default)]
pub(crate) struct Prompts {
    /// The questions. The first one that fits is used.
    pub(crate) asks: Vec<Ask>,
    /// Parts of lines, in lower case, that report a wrong password.
    pub(crate) refusals: Vec<String>,
    /// These parts count only at the beginning of a line, or after `user@host: `.
    pub(crate) refusals_begin: bool,
    /// The launcher reads from its stdin if it does not read from a terminal, and may ask on stdout.
    pub(crate) by_stdin: bool,
    /// Parts of messages with their meanings, if the launcher is one of the user's own.
    pub(crate) texts: Vec<(String, ConnectErrorKind, String)>,
    /// The caller can answer other questions.
    pub(crate) has_answerer: bool,
    lines: [Line; 2],
    password_typed: Option<String>,
    /// The last line that was printed on the terminal after a password was typed.
    said: String,
}

/// One possible question.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) sign: Sign,
    pub(crate) answer: Answer,
    /// The text of the question when the secret was typed.
    typed_for: Option<Vec<u8>>,
}

impl Ask {
    pub(crate) fn new(sign: Sign, answer: Answer) -> Self {
        Self { sign, answer, typed_for: None }
    }
}

/// How a question is recognised. Its line has not ended.
#[derive(Debug)]
pub(crate) enum Sign {
    /// The line ends with this mark, which is secret; or, from sudo-rs, it is `[sudo: MARK] ` and some words in
    /// any language.
    Mark(String),
    /// The line contains these words, in upper or lower case. They are stored in lower case.
    Within(String),
    /// The line contains the words, and ends with the character (white space after it is ignored).
    Between(&'static str, char),
}

/// The answer to a question.
#[derive(Debug)]
pub(crate) enum Answer {
    Secret {
        secret: Option<Secret>,
        /// The error text if there is no secret.
        missing: String,
        /// Advice if there is no secret.
        give: &'static str,
        wrong: String,
        /// The secret may be typed again if the question is in other words, because it may be right for that
        /// question as well.
        reusable: bool,
    },
    Words(&'static str),
    Refuse(Diagnosis),
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    /// The question in it has been answered.
    done: bool,
    /// How many bytes of the line had arrived when it was answered.
    asked: usize,
}

/// Advice if a password is asked for and none is given.
pub(crate) const GIVE_ONE: &str = "give one: ⟨-K, or --become-pass-file without a terminal|password()⟩";
/// Longest question, in bytes.
const MAX_QUESTION: usize = 1024;
/// Longest secret that a terminal accepts in one line, in bytes.
const MAX_SECRET: usize = 1024;

impl Prompts {
    pub(crate) fn new(asks: Vec<Ask>, refusals: Vec<String>) -> Self {
        Self { asks, refusals, ..Self::default() }
    }

    /// Takes bytes that were printed on the terminal, or on stdout if `stdout` is true.
    pub(super) fn input(&mut self, stdout: bool, bytes: &[u8]) -> Option<Reply> {
        if stdout && !self.by_stdin {
            return None;
        }
        let which = usize::from(stdout);
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.lines[which]);
                    if let Some(reply) = self.refusal(&line.text) {
                        return Some(reply);
                    }
                    if !stdout {
                        self.hear(&line);
                    }
                }
                b'\r' => {}
                _ if self.lines[which].text.len() < MAX_QUESTION => self.lines[which].text.push(byte),
                _ => {}
            }
        }
        let line = &mut self.lines[which];
        if line.done {
            return None;
        }
        let ask = self.asks.iter_mut().find(|ask| ask.sign.fits(&line.text))?;
        line.done = true;
        line.asked = line.text.len();
        let again = ask.typed_for.replace(line.text.clone());
        match &ask.answer {
            Answer::Words(words) => Some(Reply::Type(Secret::new(*words))),
            Answer::Refuse(diagnosis) => Some(Reply::Fail(diagnosis.clone())),
            Answer::Secret { secret: None, missing, give, .. } => {
                Some(Reply::Fail(Diagnosis::new(ConnectErrorKind::Password, missing.clone(), *give)))
            }
            Answer::Secret { secret: Some(secret), wrong, reusable, .. } => {
                let question = ask.sign.without_mark(stripped(&line.text));
                match again {
                    None => {}
                    Some(before) if before == line.text => {
                        return Some(Reply::Fail(password(wrong.clone())));
                    }
                    Some(_) if *reusable => {}
                    Some(_) if self.has_answerer => return Some(Reply::Ask(question)),
                    Some(_) => {
                        let text = format!("{wrong}, or this asks for another: {question}");
                        return Some(Reply::Fail(password(text)));
                    }
                }
                if !reusable {
                    self.password_typed = Some(wrong.clone());
                }
                Some(typed(secret))
            }
        }
    }

    /// The launcher has printed nothing for a while. `echoes` is whether the terminal shows what is typed. If
    /// it does not, the launcher waits for a secret.
    pub(super) fn waiting(&mut self, echoes: bool) -> Option<Reply> {
        let line = &mut self.lines[0];
        let question = self.asks.iter().fold(stripped(&line.text), |question, ask| ask.sign.without_mark(question));
        if line.done || question.is_empty() {
            return None;
        }
        // If the terminal echoes, a question can be recognised by its form only.
        if echoes && !(self.has_answerer && question.ends_with([':', '?'])) {
            return None;
        }
        line.done = true;
        if self.has_answerer {
            return Some(Reply::Ask(question));
        }
        let text = format!("there is no answer to a question: {question}");
        Some(Reply::Fail(Diagnosis::new(ConnectErrorKind::Password, text, "give one with on_question")))
    }

    /// The answer to [`Reply::Ask`].
    pub(super) fn answer(&self, answer: Option<&Secret>) -> Reply {
        match answer {
            Some(answer) => typed(answer),
            None => Reply::Fail(password("a question was left without an answer")),
        }
    }

    /// The diagnosis if the launcher has failed before the first stage or the child ran: a password was typed,
    /// and the launcher's answer to it is in unknown words. `None` if no password was typed or nothing followed
    /// it.
    pub(super) fn ended(&mut self) -> Option<Diagnosis> {
        let wrong = self.password_typed.clone()?;
        let line = std::mem::take(&mut self.lines[0]);
        self.hear(&line);
        // If the password was right and the command prints nothing, there is no such line.
        let said = (!self.said.is_empty()).then_some(&self.said)?;
        Some(password(format!("{wrong}, unless this says otherwise: {said}")))
    }

    /// Remembers what the launcher prints after a question. On the line of the question, stars or nothing
    /// follow. A launcher that does not read a terminal continues on the same line.
    fn hear(&mut self, line: &Line) {
        if self.password_typed.is_none() || line.done && !self.by_stdin {
            return;
        }
        let said = stripped(&line.text[line.asked..]);
        if !said.trim().is_empty() {
            said.trim().clone_into(&mut self.said);
        }
    }

    fn refusal(&self, line: &[u8]) -> Option<Reply> {
        let wrong = self.password_typed.as_ref()?;
        let line = stripped(line).to_lowercase();
        let said = match line.split_once(": ") {
            Some((who, said)) if who.contains('@') && !who.contains(' ') => said,
            _ => &line,
        };
        let refused = self.refusals.iter().any(|refusal| match self.refusals_begin {
            true => said.starts_with(refusal),
            false => line.contains(refusal),
        });
        refused.then(|| Reply::Fail(password(wrong.clone())))
    }

    /// Removes from the last lines the questions that contain our mark. For an error about a password, removes
    /// everything from the first question on.
    pub(super) fn clean(&self, lines: &mut Vec<String>, kind: ConnectErrorKind) {
        let has_mark = |line: &String| {
            self.asks.iter().any(|ask| matches!(&ask.sign, Sign::Mark(mark) if line.contains(mark.as_str())))
        };
        let is_question = |line: &String| self.asks.iter().any(|ask| ask.sign.fits(line.as_bytes()));
        if kind == ConnectErrorKind::Password
            && let Some(first) = lines.iter().position(|line| has_mark(line) || is_question(line))
        {
            lines.truncate(first);
        }
        lines.retain(|line| !has_mark(line));
    }
}

impl Sign {
    /// The question for the user, without our mark.
    fn without_mark(&self, question: String) -> String {
        match self {
            Self::Mark(mark) => question.replace(mark.as_str(), "password:"),
            _ => question,
        }
    }

    fn fits(&self, line: &[u8]) -> bool {
        match self {
            Self::Mark(mark) => {
                let text = String::from_utf8_lossy(line);
                let by_rs = text.split_once(&format!("[sudo: {mark}] ")).is_some_and(|(_, words)| {
                    // If the question arrives in pieces, it may be answered before all of it is there. Nothing
                    // is lost: the launcher reads the answer only after it has printed the whole question.
                    (1..=50).contains(&words.chars().count()) && !words.contains('*')
                });
                text.ends_with(mark.as_str()) || by_rs
            }
            Self::Within(words) => String::from_utf8_lossy(line).to_lowercase().contains(words),
            Self::Between(words, end) => {
                let text = String::from_utf8_lossy(line).to_lowercase();
                text.trim_end().ends_with(*end) && text.contains(words)
            }
        }
    }
}

/// An error about a password.
fn password(text: impl Into<std::borrow::Cow<'static, str>>) -> Diagnosis {
    Diagnosis::plain(ConnectErrorKind::Password, text)
}

fn typed(secret: &Secret) -> Reply {
    // A terminal would interpret control characters.
    if secret.expose().chars().any(char::is_control) || secret.expose().len() > MAX_SECRET {
        let text = format!("a secret cannot be typed: it has control characters, or more than {MAX_SECRET} bytes");
        return Reply::Fail(password(text));
    }
    Reply::Type(secret.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "offshoot-0123-password:";

    fn secret(text: Option<&str>, reusable: bool) -> Answer {
        let secret = text.map(Secret::from);
        Answer::Secret { secret, missing: "is required".into(), give: GIVE_ONE, wrong: "is incorrect".into(), reusable }
    }

    fn sudo(password: Option<&str>) -> Prompts {
        let ask = Ask::new(Sign::Mark(MARK.into()), secret(password, false));
        Prompts::new(vec![ask], vec!["incorrect password attempt".into()])
    }

    fn ssh() -> Prompts {
        let asks = vec![
            Ask::new(Sign::Between("are you sure you want to continue connecting (yes/no", '?'), Answer::Words("yes")),
            Ask::new(Sign::Between("enter passphrase for ", ':'), secret(Some("phrase"), true)),
            Ask::new(Sign::Between("password", ':'), secret(Some("pw"), false)),
        ];
        let mut prompts = Prompts::new(asks, vec!["permission denied".into()]);
        prompts.refusals_begin = true;
        prompts
    }

    fn su() -> Prompts {
        let ask = Ask::new(Sign::Within("password:".into()), secret(Some("pw"), false));
        let mut prompts = Prompts::new(vec![ask], vec!["su: incorrect password".into()]);
        prompts.by_stdin = true;
        prompts
    }

    fn type_it(text: &str) -> Option<Reply> {
        Some(Reply::Type(text.into()))
    }

    fn wrong() -> Option<Reply> {
        Some(Reply::Fail(password("is incorrect")))
    }

    fn replies(prompts: &mut Prompts, pieces: &[&str]) -> Vec<Reply> {
        pieces.iter().filter_map(|piece| prompts.input(false, piece.as_bytes())).collect()
    }

    /// The first three are what sudo 1.9.13 prints with `-p MARK`. The others have the form that sudo-rs
    /// documents, in some of its languages.
    #[test]
    fn sudo_is_answered_in_any_language() {
        let lecture = "\r\nWe trust you have received the usual lecture from the local System\r\n\
                       Administrator. It usually boils down to these three things:\r\n\r\n    \
                       #1) Respect the privacy of others.\r\n\r\n";
        for said in [
            MARK.to_owned(),
            format!("{lecture}{MARK}"),
            format!("sudo: unable to resolve host web1: Temporary failure in name resolution\r\n{MARK}"),
            format!("[sudo: {MARK}] Password: "),
            format!("[sudo: {MARK}] Mot de passe\u{a0}: "),
            format!("[sudo: {MARK}] \u{5bc6}\u{7801}\u{ff1a}"),
        ] {
            assert_eq!(sudo(Some("pw")).input(false, said.as_bytes()), type_it("pw"), "{said}");
            let missing = sudo(None).input(false, said.as_bytes());
            assert_eq!(missing, Some(Reply::Fail(Diagnosis::new(ConnectErrorKind::Password, "is required", GIVE_ONE))));
        }
        for said in [
            format!("{MARK}\r\n"),
            format!("[sudo: {MARK}] Password: \r\n"),
            format!("[sudo: {MARK}] Password: ***"),
            "[sudo] password for bob: ".into(),
            "Password: ".into(),
        ] {
            assert_eq!(sudo(Some("pw")).input(false, said.as_bytes()), None, "{said}");
        }
    }

    #[test]
    fn a_password_is_typed_once_however_its_prompt_is_cut() {
        for (make, said) in [
            (sudo as fn(Option<&str>) -> Prompts, format!("[sudo: {MARK}] Password: ")),
            (sudo, format!("lecture\r\n{MARK}")),
            (|_| ssh(), "(bob@web1) Password: ".into()),
            (|_| ssh(), "bob@web1's password: ".into()),
            (|_| su(), "Password: ".into()),
        ] {
            for cut in 0..=said.len() {
                let mut prompts = make(Some("pw"));
                let (head, tail) = said.split_at(cut);
                // The feedback of pwfeedback, and the newline that ends it.
                let all = replies(&mut prompts, &[head, tail, "*", "**", "\r\n"]);
                assert_eq!(all, [Reply::Type("pw".into())], "{said} cut at {cut}");
            }
            let mut prompts = make(Some("pw"));
            let bytes: Vec<String> = said.chars().map(String::from).collect();
            let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
            assert_eq!(replies(&mut prompts, &bytes).len(), 1, "{said}");
        }
    }

    #[test]
    fn the_same_question_again_means_that_the_answer_was_wrong() {
        for (mut prompts, said, then) in [
            (sudo(Some("pw")), MARK, format!("\r\nSorry, try again.\r\n{MARK}")),
            (sudo(Some("pw")), MARK, format!("\r\nD\u{e9}sol\u{e9}, essayez de nouveau.\r\n{MARK}")),
            (sudo(Some("pw")), MARK, "\r\nsudo: 1 incorrect password attempt\r\n".into()),
            (ssh(), "(bob@web1) Password: ", "\r\n(bob@web1) Password: ".into()),
            (ssh(), "bob@web1's password: ", "\r\nPermission denied, please try again.\r\n".into()),
            (ssh(), "bob@web1's password: ", "\r\nbob@web1: Permission denied (publickey,password).\r\n".into()),
            (su(), "Password: ", "\r\nsu: incorrect password\r\n".into()),
        ] {
            assert_eq!(prompts.input(false, said.as_bytes()), type_it("pw"));
            assert_eq!(prompts.input(false, then.as_bytes()), wrong(), "{then}");
        }
        // Some kinds of su print the question in pieces.
        let mut prompts = su();
        assert_eq!(replies(&mut prompts, &["Password: ", "\r\n", "su: ", "incorrect password", "\r\n"]).len(), 2);
    }

    #[test]
    fn who_ends_after_the_answer_with_words_that_nobody_knows_has_refused_it() {
        let german = "\r\nsudo: 1 Fehlversuch bei der Passwort-Eingabe\r\n";
        for (then, said) in [
            (german, Some("sudo: 1 Fehlversuch bei der Passwort-Eingabe")),
            ("***\r\nsudo: Fehler", Some("sudo: Fehler")),
            ("\r\nTut mir leid.\r\n \r\n", Some("Tut mir leid.")),
            // The password was right, and the shell ends without output.
            ("\r\n", None),
            ("***\r\n", None),
        ] {
            let mut prompts = sudo(Some("pw"));
            assert_eq!(prompts.input(false, format!("Guten Tag!\r\n{MARK}").as_bytes()), type_it("pw"));
            assert_eq!(prompts.input(false, then.as_bytes()), None);
            let expected = said.map(|said| password(format!("is incorrect, unless this says otherwise: {said}")));
            assert_eq!(prompts.ended(), expected);
        }
        let mut prompts = sudo(Some("pw"));
        assert_eq!(prompts.input(false, german.as_bytes()), None);
        assert_eq!(prompts.ended(), None, "nothing was typed");
        // The su of util-linux reads its stdin.
        let mut prompts = su();
        assert_eq!(replies(&mut prompts, &["Password:", " ", "su: Fehler\r\n"]).len(), 1);
        assert!(prompts.ended().unwrap().text.ends_with(": su: Fehler"));
    }

    #[test]
    fn what_is_kept_for_an_error_has_no_mark_and_says_nothing_twice() {
        let left = |prompts: Prompts, lines: &[&str], kind| {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            prompts.clean(&mut lines, kind);
            lines.join("/")
        };
        let said = ["motd", MARK, "Sorry, try again.", "[sudo: offshoot-0123-password:] Password:"];
        assert_eq!(left(sudo(Some("pw")), &said, ConnectErrorKind::Password), "motd");
        assert_eq!(left(sudo(Some("pw")), &said, ConnectErrorKind::Timeout), "motd/Sorry, try again.");
        assert_eq!(left(su(), &["motd", "Password: su: no"], ConnectErrorKind::Password), "motd");
        assert_eq!(left(su(), &["motd", "Password:"], ConnectErrorKind::Timeout), "motd/Password:");
    }

    #[test]
    fn the_mark_is_shown_to_nobody() {
        let mut prompts = sudo(Some("pw"));
        assert_eq!(prompts.input(false, MARK.as_bytes()), type_it("pw"));
        let Some(Reply::Fail(failure)) = prompts.input(false, format!("\r\nPIN {MARK}").as_bytes()) else { panic!() };
        let text = failure.text;
        assert!(text.contains("PIN password:") && !text.contains("0123"), "{text}");
        let mut prompts = sudo(Some("pw"));
        prompts.input(false, format!("{MARK} once more? ").as_bytes());
        let Some(Reply::Fail(failure)) = prompts.waiting(false) else { panic!() };
        assert!(failure.text.ends_with(": password: once more?"), "{}", failure.text);
    }

    #[test]
    fn words_of_others_are_no_refusal() {
        let mut prompts = ssh();
        for said in ["Permission denied (publickey).\r\n", "bash: /root/x: Permission denied\r\n"] {
            assert_eq!(prompts.input(false, said.as_bytes()), None, "nothing was typed");
        }
        assert_eq!(prompts.input(false, b"bob@web1's password: "), type_it("pw"));
        for said in ["\r\nbash: /root/x: Permission denied\r\n", "I said Permission denied (x).\r\n"] {
            assert_eq!(prompts.input(false, said.as_bytes()), None, "{said}");
        }
    }

    #[test]
    fn a_banner_with_the_word_password_in_it_is_no_question() {
        let said = ["Your password: never tell it.\r\n", "The password is\r\n", "password", "s are secret\r\n"];
        assert_eq!(replies(&mut ssh(), &said), []);
    }

    #[test]
    fn host_keys_passphrases_and_passwords_can_follow_each_other() {
        let said = [
            "The authenticity of host '[127.0.0.1]:2201 ([127.0.0.1]:2201)' can't be established.\r\n",
            "ED25519 key fingerprint is SHA256:abc.\r\nThis key is not known by any other names.\r\n",
            "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
            "yes\r\n",
            "Warning: Permanently added '[127.0.0.1]:2201' (ED25519) to the list of known hosts.\r\n",
            "Enter passphrase for key '/home/bob/.ssh/id': ",
            "\r\nEnter passphrase for key '/home/bob/.ssh/other': ",
            "\r\nbob@web1's password: ",
        ];
        let typed = ["yes", "phrase", "phrase", "pw"].map(|text| Reply::Type(text.into()));
        assert_eq!(replies(&mut ssh(), &said), typed);
        let twice = ["Enter passphrase for key 'k': ", "\r\nEnter passphrase for key 'k': "];
        assert_eq!(replies(&mut ssh(), &twice)[1..], wrong().into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn what_nobody_knows_the_answer_to_is_asked_or_repeated() {
        let mut prompts = ssh();
        prompts.input(false, b"(bob@web1) Verification code: ");
        assert_eq!(prompts.waiting(true), None, "it may be anything");
        let Some(Reply::Fail(Diagnosis { kind: ConnectErrorKind::Password, text, .. })) = prompts.waiting(false) else {
            panic!()
        };
        assert!(text.contains("(bob@web1) Verification code:"), "{text}");

        let mut prompts = ssh();
        prompts.has_answerer = true;
        let asked = |question: &str| Some(Reply::Ask(question.into()));
        assert_eq!(replies(&mut prompts, &["(b@w) Password: "]).len(), 1);
        assert_eq!(prompts.waiting(false), None, "it has been answered");
        assert_eq!(prompts.input(false, b"\r\n(b@w) One-time password: "), asked("(b@w) One-time password:"));
        prompts.input(false, b"\r\nYour name: ");
        assert_eq!(prompts.waiting(true), asked("Your name:"));
        assert_eq!(prompts.waiting(true), None, "once");
        assert_eq!(Some(prompts.answer(Some(&"123".into()))), type_it("123"));
        assert!(matches!(prompts.answer(None), Reply::Fail(..)));
    }

    #[test]
    fn what_a_terminal_would_take_for_orders_is_not_typed() {
        for password in ["a\nb", "a\u{3}b", &"x".repeat(2000)] {
            let reply = sudo(Some(password)).input(false, MARK.as_bytes());
            let Some(Reply::Fail(Diagnosis { text, .. })) = reply else { panic!("{reply:?}") };
            assert!(text.contains("cannot be typed") && !text.contains(password), "{text}");
        }
    }

    #[test]
    fn only_who_reads_stdin_asks_on_stdout_and_nothing_grows_without_bound() {
        assert_eq!(su().input(true, b"Password: "), type_it("pw"));
        assert_eq!(sudo(Some("pw")).input(true, MARK.as_bytes()), None);
        let mut prompts = ssh();
        for _ in 0..100 {
            assert_eq!(prompts.input(false, &[b'x'; 4096]), None);
        }
        assert!(prompts.lines[0].text.len() <= MAX_QUESTION);
    }
}
