//! The messages of parent and child before the first frame.
//!
//! The child writes its token, the magic and a [`Hello`]; the parent answers
//! with a [`Welcome`] and may send frames right behind it.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::api::function::Table;
use crate::connect::bootstrap::hello_bytes;
use crate::connect::bootstrap::{MAX_HELLO, Nonce};
use crate::engine::descendants::Descendants;
use crate::engine::log::Levels;
use crate::image::executable::{Image, MARK};
use crate::wire::codec;
use crate::wire::error::{ConnectError, ConnectErrorKind, Phase};
use crate::wire::message::ContextId;
use crate::wire::sanitize::printable;

/// Longest [`Welcome`], in bytes.
const MAX_WELCOME: u32 = 64 * 1024;

/// What a child reports about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Digest of what the program was built from. `None` if the build did not set it; then the image's digest
    /// is used.
    pub(crate) build: Option<String>,
    /// Digest of the function table.
    pub(crate) table: [u8; 32],
    /// Processor and system, such as `x86_64-linux`.
    pub(crate) triple: String,
    pub(crate) pid: u32,
    pub(crate) user: String,
    pub(crate) host: String,
    /// The checksum of the image, if the image was sent over the wire.
    pub(crate) image: Option<u64>,
}

/// What a parent sends to its child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) id: ContextId,
    /// All contexts above the child, its parent first.
    pub(crate) parent_ids: Vec<ContextId>,
    pub(crate) name: String,
    /// The log records that the master shows.
    pub(crate) levels: Levels,
    pub(crate) debug: bool,
    pub(crate) profiling: bool,
    pub(crate) unidirectional: bool,
    /// The names of the functions that the child runs, if it does not run all.
    pub(crate) allowed: Option<Vec<String>>,
    pub(crate) max_message_size: u64,
    pub(crate) descendants: Descendants,
}

/// The build id of a program. Its executable submits it at most once.
///
/// The library cannot know this id: it does not see the sources of the program that uses it.
#[derive(Debug)]
pub struct ProgramBuild(pub &'static str);

inventory::collect!(ProgramBuild);

/// What this program was built from: the id that the program submits, or else the id that the build has set.
fn own_build() -> Option<&'static str> {
    // Without this use the linker drops the mark.
    std::hint::black_box(MARK);
    let submitted = inventory::iter::<ProgramBuild>.into_iter().next();
    submitted.map(|build| build.0).or(option_env!("OFFSHOOT_BUILD"))
}

impl Hello {
    /// The hello of this process. With `travelled`, the image came over the wire, and the hello contains its
    /// checksum, so that the parent can check that it arrived undamaged.
    pub(crate) fn own(travelled: bool) -> Result<Self, String> {
        let image = if travelled {
            Some(Image::own()?.checksum().map_err(|error| format!("cannot read the own image: {error}"))?)
        } else {
            None
        };
        let (user, host) = whoami();
        Ok(Self {
            build: own_build().map(str::to_owned),
            table: Table::get().digest(),
            triple: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            pid: std::process::id(),
            user,
            host,
            image,
        })
    }

    /// Writes the first bytes of the child: token, magic, version, and this hello.
    pub(crate) fn write(&self, nonce: &Nonce, out: &mut impl Write) -> io::Result<()> {
        let mut shortened = self.clone();
        for text in [&mut shortened.user, &mut shortened.host] {
            *text = text.chars().take(64).collect();
        }
        let body = codec::encode(&shortened).map_err(io::Error::other)?;
        out.write_all(&hello_bytes(nonce, &body))?;
        out.flush()
    }

    /// Reads and checks the hello of a child. `sent` is the checksum of the image that was sent to it, if one was
    /// sent. `is_installed`: whether the user has named an image that is on the machine already.
    pub(crate) fn check(bytes: &[u8], sent: Option<u64>, is_installed: bool, hop: &str) -> Result<Self, ConnectError> {
        let fail = |kind, text: String| ConnectError::new(kind, Phase::Handshake, hop, text);
        debug_assert!(bytes.len() <= MAX_HELLO);
        let mut hello: Self = codec::decode(bytes, None)
            .map_err(|why| fail(ConnectErrorKind::Corrupt, format!("the child's hello cannot be read: {why}")))?;
        hello.triple = printable(&hello.triple);
        hello.user = printable(&hello.user);
        hello.host = printable(&hello.host);
        if let Some(sent) = sent
            && hello.image != Some(sent)
        {
            return Err(fail(
                ConnectErrorKind::Corrupt,
                "the image arrived damaged: its checksum is not that of what was sent".into(),
            ));
        }
        if let Some(difference) = hello.difference(is_installed) {
            let error = fail(ConnectErrorKind::Mismatch, format!("the child is {difference}"));
            let advice = "install the same version there or let it be uploaded";
            return Err(match difference {
                Difference::Build { .. } => error.with_advice(advice),
                Difference::Program => error,
            });
        }
        Ok(hello)
    }

    /// How the program that has sent this differs from this program. With `is_installed`, the user has named it, so
    /// that the same functions are enough.
    pub(crate) fn difference(&self, is_installed: bool) -> Option<Difference> {
        let (ours, table) = (own_build().map(str::to_owned), Table::get().digest());
        let same_build = match (&ours, &self.build) {
            (Some(ours), Some(theirs)) => ours == theirs,
            // The child runs our own image, or the checksum has shown that it does.
            (None, None) => true,
            _ => false,
        };
        if !(same_build || is_installed && self.table == table) {
            let show = |build: Option<String>| build.map_or_else(|| "unknown".into(), |build| printable(&build));
            return Some(Difference::Build { theirs: show(self.build.clone()), ours: show(ours) });
        }
        // Programs that were built together have one build id.
        (self.table != table).then_some(Difference::Program)
    }
}

/// How another program differs from this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    Build { theirs: String, ours: String },
    Program,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build { theirs, ours } => {
                write!(f, "another build of this program: it is {theirs}, this is {ours}")
            }
            Self::Program => f.write_str("another program: its function table differs from this program's"),
        }
    }
}

impl Welcome {
    /// The welcome in the form in which it is sent.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        let body = codec::encode(self)?;
        let length = u32::try_from(body.len()).ok().filter(|length| *length <= MAX_WELCOME);
        let length = length.ok_or_else(|| format!("a welcome of {} bytes is too long", body.len()))?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads a welcome, and no byte after it. Blocks.
    pub(crate) fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MAX_WELCOME {
            return Err(io::Error::other(format!("a welcome of {length} bytes (max {MAX_WELCOME})")));
        }
        let mut body = vec![0; length as usize];
        input.read_exact(&mut body)?;
        codec::decode(&body, None).map_err(io::Error::other)
    }
}

/// User name and host name of this process, for names and logs.
pub(crate) fn whoami() -> (String, String) {
    static WHO: OnceLock<(String, String)> = OnceLock::new();
    WHO.get_or_init(|| {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let uid = nix::unistd::geteuid();
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| uid.to_string());
        (user, host.unwrap_or_else(|| "localhost".into()))
    })
    .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_survives_the_wire_and_nothing_behind_it_is_read() {
        let welcome = Welcome {
            id: ContextId(7),
            parent_ids: vec![ContextId(3), ContextId(0)],
            name: "local.1".into(),
            levels: Levels::parse("warn,app=debug").unwrap(),
            debug: true,
            profiling: false,
            unidirectional: true,
            allowed: Some(vec!["app::f".into()]),
            max_message_size: 1 << 27,
            descendants: Descendants::End,
        };
        let mut bytes = welcome.encode().unwrap();
        bytes.extend_from_slice(b"frames");
        let mut input = &bytes[..];
        assert_eq!(Welcome::read(&mut input).unwrap(), welcome);
        assert_eq!(input, b"frames");
    }

    #[test]
    fn an_endless_welcome_is_refused() {
        assert!(Welcome::read(&mut &[0xff; 64][..]).is_err());
    }

    #[test]
    fn a_damaged_image_and_another_table_are_named() {
        let hello = Hello::own(false).unwrap();
        let bytes = codec::encode(&hello).unwrap();
        assert!(Hello::check(&bytes, None, false, "local").is_ok());
        let error = Hello::check(&bytes, Some(1), false, "local").unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Corrupt);
        let other = Hello { table: [9; 32], ..hello.clone() };
        let error = Hello::check(&codec::encode(&other).unwrap(), None, false, "local").unwrap_err();
        assert_eq!((own_build().is_none(), error.kind), (true, ConnectErrorKind::Mismatch));
        let other = Hello { build: Some("other".into()), ..hello };
        let error = Hello::check(&codec::encode(&other).unwrap(), None, false, "local").unwrap_err();
        assert!(error.text.contains("other"), "{error}");
        // An image that the user has named may be of another build if it has the same functions.
        assert!(Hello::check(&codec::encode(&other).unwrap(), None, true, "local").is_ok());
        let other = Hello { table: [9; 32], ..other };
        assert!(Hello::check(&codec::encode(&other).unwrap(), None, true, "local").is_err());
    }
}
