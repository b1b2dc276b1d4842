//! The dialogue from a login to a child, with the questions of whatever lets the user in.

use std::mem::discriminant;
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::connect::bootstrap::{
    Action, Answer, Ask, Closing, Dialogue, GIVE_ONE, Input, MAX_HELLO, Nonce, Prompts, Sign,
};
use crate::connect::methods::INTERPRETERS;
use crate::fuzzing::checks;
use crate::image::executable::{Compression, Packed};
use crate::wire::codec::Secret;
use crate::wire::error::{ConnectError, ConnectErrorKind, Phase};

const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";
const MARK: &str = "offshoot-0001020304050607-password:";
const PASSWORD: &str = "hunter2";
/// What the user answers to a question.
const ANSWER: &str = "swordfish";
const IMAGE: &[u8] = b"the image";
/// A first stage tries six places, and the image may be sent to each; one request may be for a kept image.
const MAX_UPLOADS: usize = 8;

/// The first byte chooses the kind of dialogue, the second one the questions. Then come events: a byte for the kind, for some
/// kinds a length and as many bytes.
pub(super) fn dialogue(bytes: &[u8]) {
    let mut rest = bytes;
    let (Ok(kind), Ok(questions)) = (rest.try_get_u8(), rest.try_get_u8()) else { return };
    if bytes.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()) {
        // What repeats it would not be what is looked for.
        return;
    }
    let mut talk = Talk::new(kind, questions);
    let (mut printed, mut is_printed) = (Vec::new(), true);
    while let Ok(event) = rest.try_get_u8() {
        let kind = event % 16;
        let mut text = || {
            let length = usize::from(rest.try_get_u8().unwrap_or_default()).min(rest.len());
            rest.split_off(..length).unwrap_or_default()
        };
        match kind {
            0 => printed.push(text().to_vec()),
            1 => printed.push([TOKEN.as_bytes(), text()].concat()),
            2 => printed.push([TOKEN.as_bytes(), b" ", text(), b"\n"].concat()),
            3 => printed.push([TOKEN.as_bytes(), b"\n\x89OFS\r\n\x1a\n\0\x01", text()].concat()),
            4 => talk.take(Input::Stderr(text())),
            5 => talk.take(Input::Stderr(&[MARK.as_bytes(), text()].concat())),
            6 => talk.take(Input::Waiting { echoes: event & 16 == 0 }),
            7 | 8 => talk.answer((kind == 7).then(|| ANSWER.into())),
            9 => talk.take(Input::Sent),
            10 => talk.take(Input::Ended {
                status: "exited with return code 1".into(),
                code: Some(i32::from(event)),
                lingered: event & 16 != 0,
            }),
            11 => talk.take(Input::Deadline(Duration::from_secs(30))),
            12 => talk.take(Input::Cancelled),
            13 => {
                talk.take(Input::StdinClosed(Closing { at: Duration::from_secs(27), limit: Duration::from_secs(30) }));
            }
            14 => {
                let error = ConnectError::new(ConnectErrorKind::Unsupported, Phase::FirstStage, "", "no image");
                talk.take(Input::Image(Err(error)));
            }
            // An image that nobody has asked for.
            _ => talk.take(image()),
        }
        is_printed &= kind < 4;
        if kind < 4
            && let Some(text) = printed.last()
        {
            talk.take(Input::Stdout(text));
        }
    }
    if is_printed && !talk.prompts_by_stdin {
        // The size of the pieces in which stdout comes makes no difference.
        let mut again = Talk::new(kind, questions);
        printed.iter().flatten().for_each(|byte| again.take(Input::Stdout(&[*byte])));
        assert_eq!(again.end(), talk.end());
    }
}

fn image() -> Input<'static> {
    let bytes = Bytes::from_static(IMAGE);
    Input::Image(Ok((Packed { compression: Compression::Zstd, bytes, unpacked: 1000, checksum: 0 }, [7; 32])))
}

/// A dialogue, and what it has asked for.
struct Talk {
    dialogue: Dialogue,
    prompts_by_stdin: bool,
    may_be_asked: bool,
    has_announced: bool,
    uploads: usize,
    passwords: usize,
    questions: usize,
    /// The last action.
    over: Option<Action>,
}

impl Talk {
    fn new(kind: u8, questions: u8) -> Self {
        let nonce = Nonce::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let interpret = INTERPRETERS[usize::from(kind / 4) % INTERPRETERS.len()];
        let staged = |cache| Dialogue::staged(nonce.clone(), "ssh.web1".into(), "op@laptop:1".into(), cache, interpret);
        let dialogue = match kind % 4 {
            0 => staged(false),
            1 => staged(true),
            2 => staged(false).or_child(),
            _ => Dialogue::direct(nonce.clone(), "local".into(), Phase::Exec, interpret),
        };
        let prompts = prompts(questions);
        let prompts_by_stdin = prompts.by_stdin;
        let may_be_asked = !prompts.asks.is_empty() || prompts.has_answerer;
        Self {
            dialogue: dialogue.with_prompts(prompts),
            prompts_by_stdin,
            may_be_asked,
            has_announced: false,
            uploads: 0,
            passwords: 0,
            questions: 0,
            over: None,
        }
    }

    fn take(&mut self, input: Input<'_>) {
        let actions = self.dialogue.input(input);
        assert!(self.over.is_none() || actions.is_empty(), "after its end: {actions:?}");
        for action in actions {
            assert!(self.over.is_none(), "after its end: {action:?}");
            self.action(action);
        }
    }

    /// Answers a question, if there is one.
    fn answer(&mut self, answer: Option<Secret>) {
        if self.questions > 0 {
            self.questions -= 1;
            self.take(Input::Answer(answer.as_ref()));
        }
    }

    fn action(&mut self, action: Action) {
        match action {
            Action::ChooseImage(_) => {
                self.has_announced = true;
                self.take(image());
            }
            Action::Write(bytes) => {
                self.uploads += usize::from(bytes == IMAGE);
                assert!(self.has_announced || bytes == "\n", "{bytes:?} is written to nobody");
                assert!(self.uploads <= MAX_UPLOADS, "{} uploads", self.uploads);
            }
            Action::Type { secret, .. } => {
                self.passwords += usize::from(secret.expose() == PASSWORD);
                assert!(self.may_be_asked && ["yes", PASSWORD, ANSWER, "phrase"].contains(&secret.expose()));
                assert!(self.passwords <= 1, "a password that was wrong is typed again");
            }
            Action::Ask(question) => {
                checks::tells(&question);
                self.questions += 1;
            }
            Action::Note(line) => checks::harmless(&line),
            Action::Hello { hello, rest } => {
                assert!(hello.len() <= MAX_HELLO);
                self.over = Some(Action::Hello { hello, rest });
            }
            Action::Fail(error) => {
                checks::connect_error(&error);
                assert!(!error.to_string().contains(PASSWORD), "{error}");
                error.trace.announced.iter().for_each(|line| checks::harmless(line));
                self.over = Some(Action::Fail(error));
            }
        }
    }

    /// How the dialogue has ended, without what depends on the pieces in which its input came.
    fn end(&self) -> Option<(std::mem::Discriminant<Action>, Vec<u8>, String)> {
        self.over.as_ref().map(|action| match action {
            Action::Hello { hello, .. } => (discriminant(action), hello.clone(), String::new()),
            // A wrong hello is refused as soon as it is known to be wrong, so that the error shows fewer bytes of it.
            Action::Fail(error) => (discriminant(action), Vec::new(), format!("{:?} {:?}", error.kind, error.phase)),
            _ => (discriminant(action), Vec::new(), String::new()),
        })
    }
}

/// The questions of one program.
fn prompts(kind: u8) -> Prompts {
    let secret = |text: Option<&str>, reusable| Answer::Secret {
        secret: text.map(Secret::from),
        missing: "a password is required".into(),
        give: GIVE_ONE,
        wrong: "the password is incorrect".into(),
        reusable,
    };
    let password = (kind & 8 != 0).then_some(PASSWORD);
    let mut prompts = match kind % 4 {
        0 => Prompts::default(),
        1 => {
            let ask = Ask::new(Sign::Mark(MARK.into()), secret(password, false));
            Prompts::new(vec![ask], vec!["incorrect password attempt".into()])
        }
        2 => {
            let asks = vec![
                Ask::new(
                    Sign::Between("are you sure you want to continue connecting (yes/no", '?'),
                    Answer::Words("yes"),
                ),
                Ask::new(Sign::Between("enter passphrase for ", ':'), secret(Some("phrase"), true)),
                Ask::new(Sign::Between("password", ':'), secret(password, false)),
            ];
            let mut prompts = Prompts::new(asks, vec!["permission denied".into()]);
            prompts.refusals_begin = true;
            prompts
        }
        _ => {
            let ask = Ask::new(Sign::Within("password:".into()), secret(password, false));
            let mut prompts = Prompts::new(vec![ask], vec!["su: incorrect password".into()]);
            prompts.by_stdin = true;
            prompts
        }
    };
    prompts.has_answerer = kind & 16 != 0;
    prompts
}
