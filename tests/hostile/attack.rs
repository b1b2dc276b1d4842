//! What an attack is: what it sends, and the bounds that hold whatever that is.

use std::io;

use crate::attacks;
use crate::far_side::Far;
use crate::kinds::Kind;

/// A row of the table.
pub(crate) struct Attack {
    /// What the attacker tries, as the page about trust has it.
    pub(crate) name: &'static str,
    pub(crate) hosts: &'static str,
    /// How many hosts at once.
    pub(crate) fanout: &'static str,
    pub(crate) act: Act,
    /// What it sends that no other attack has to send.
    pub(crate) sends: &'static [Kind],
    /// The most MiB of memory of any process that the attack reaches.
    pub(crate) memory: u64,
    /// The most seconds of processor time of the controller, for each round.
    pub(crate) cpu: u64,
    /// What the errors of the hostile hosts say: each of them one of these texts, and one of them the first text. Without
    /// texts, anything that a terminal can show.
    pub(crate) says: &'static [&'static str],
    /// The most images that each hostile host is sent.
    pub(crate) uploads: usize,
    /// How long the attackers keep their links.
    pub(crate) stays: Stays,
    /// Whether nobody reads the stderr of the controller.
    pub(crate) is_unread: bool,
    /// Texts that no line of stderr may begin with.
    pub(crate) never_said: &'static [&'static str],
}

/// What an attacker does.
pub(crate) enum Act {
    /// It plays the first stage by itself.
    Dialogue(fn(&mut Far) -> io::Result<()>),
    /// It comes up as a child does. `reads`: whether it reads what is sent to it after that.
    Context { reads: bool, act: fn(&mut Far) -> io::Result<()> },
}

/// How long an attacker stays after it has sent what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stays {
    NoLonger,
    /// Until the run has ended. A SIGINT ends it when the honest hosts are done.
    ToTheEnd,
}

/// How many honest hosts there are.
pub(crate) const HONEST: usize = 3;
/// A hostile child of the controller.
pub(crate) const CHILD: &str = "evil1";
/// A hostile hop, with a host behind it.
pub(crate) const HOP: &str = "evil1/local9";
/// A hostile child of an honest hop.
pub(crate) const BEHIND_HOP: &str = "local9/evil1";

/// A run without any attack takes 6 MiB.
const MEMORY: u64 = 32;
/// For attacks that make the controller read its own image or one of theirs, or that fill queues.
pub(crate) const LARGE: u64 = 64;
const CPU: u64 = 5;
/// The link has ended while the command ran, or what was sent had the handle for the events of the command and is none.
pub(crate) const LOST: &str =
    "the connection was lost while the command ran; the command may have been carried out or invalid message";

impl Attack {
    pub(crate) const fn new(name: &'static str, hosts: &'static str, act: fn(&mut Far) -> io::Result<()>) -> Self {
        Self {
            name,
            hosts,
            fanout: "32",
            act: Act::Context { reads: true, act },
            sends: &[],
            memory: MEMORY,
            cpu: CPU,
            says: &[LOST],
            uploads: 1,
            stays: Stays::NoLonger,
            is_unread: false,
            never_said: &[],
        }
    }

    /// The hosts beside it. If the attacker is behind an honest hop, one of them is too.
    pub(crate) fn honest(&self) -> [&'static str; HONEST] {
        ["local1", "local2", if self.hosts.starts_with("local9/") { "local9/local3" } else { "local3" }]
    }

    /// An attacker that reads nothing after the handshake.
    pub(crate) const fn deaf(name: &'static str, hosts: &'static str, act: fn(&mut Far) -> io::Result<()>) -> Self {
        Self { act: Act::Context { reads: false, act }, ..Self::new(name, hosts, act) }
    }
}

/// The table.
pub(crate) fn all() -> Vec<Attack> {
    [
        attacks::hops::all(),
        attacks::claims::all(),
        attacks::floods::all(),
        attacks::others::all(),
        attacks::dialogue::all(),
    ]
    .into_iter()
    .flatten()
    .chain(attacks::mutations::all())
    .collect()
}
