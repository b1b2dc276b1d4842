//! What is done to one run: the fault, and where it strikes. Each has a text form, so that a failure can be repeated.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

use crate::random::Random;

use super::job::Job;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Both directions of the link end, and so does the launcher.
    Cut,
    /// This direction of the link ends.
    HalfCut,
    /// This direction passes nothing any more.
    Stall,
    /// Both directions pass nothing any more.
    StallBoth,
    /// Some hundred bytes pass one at a time.
    Slow,
    /// A bit of the next byte is another one.
    Flip(u8),
    /// The next byte is missing.
    Drop,
    /// The last bytes pass once more.
    Repeat,
    /// SIGKILL of the process at the far end of the link.
    KillFar,
    /// SIGSTOP of that process, until the tool has ended.
    StopFar,
    /// The same for 300 ms.
    PauseFar,
    /// SIGSTOP of the tool for 300 ms.
    PauseTool,
    /// SIGTERM of the tool.
    EndTool,
    /// SIGKILL of the tool.
    KillTool,
}

impl Fault {
    const ALL: [Self; 14] = [
        Self::Cut,
        Self::HalfCut,
        Self::Stall,
        Self::StallBoth,
        Self::Slow,
        Self::Flip(0),
        Self::Drop,
        Self::Repeat,
        Self::KillFar,
        Self::StopFar,
        Self::PauseFar,
        Self::PauseTool,
        Self::EndTool,
        Self::KillTool,
    ];

    fn random(random: &mut Random) -> Self {
        match random.pick(&Self::ALL) {
            Self::Flip(_) => Self::Flip(random.below(8) as u8),
            other => other,
        }
    }

    /// Whether other bytes arrive than were sent. That bytes are whole is a promise of ssh.
    pub(crate) fn corrupts(self) -> bool {
        matches!(self, Self::Flip(_) | Self::Drop | Self::Repeat)
    }

    /// Whether it is a delay that changes nothing.
    pub(crate) fn is_delay(self) -> bool {
        matches!(self, Self::Slow | Self::PauseFar | Self::PauseTool)
    }

    /// Whether it ends the tool.
    pub(crate) fn ends_tool(self) -> bool {
        matches!(self, Self::EndTool | Self::KillTool)
    }

    /// Whether the tool cannot see at once that the link is of no use any more.
    pub(crate) fn is_silent(self) -> bool {
        matches!(self, Self::HalfCut | Self::Stall | Self::StallBoth | Self::StopFar)
            || self.corrupts()
            || self.is_delay()
    }

    /// Its name, without what chance has added.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::HalfCut => "half-cut",
            Self::Stall => "stall",
            Self::StallBoth => "stall-both",
            Self::Slow => "slow",
            Self::Flip(_) => "flip",
            Self::Drop => "drop",
            Self::Repeat => "repeat",
            Self::KillFar => "kill-far",
            Self::StopFar => "stop-far",
            Self::PauseFar => "pause-far",
            Self::PauseTool => "pause-tool",
            Self::EndTool => "end-tool",
            Self::KillTool => "kill-tool",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Flip(bit) => write!(f, "{bit}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(bit) = text.strip_prefix("flip") {
            return Ok(Self::Flip(bit.parse()?));
        }
        Self::ALL.into_iter().find(|fault| fault.kind() == text).with_context(|| format!("{text} is no fault"))
    }
}

/// The direction of a link in which bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// To the child.
    Down,
    /// To the parent.
    Up,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::Down, Self::Up];

    pub(crate) fn name(self) -> &'static str {
        if self == Self::Down { "down" } else { "up" }
    }
}

/// The hosts of a run and how their images come there. Beside them is always [`HONEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scene {
    pub(crate) job: Job,
    /// Whether there is a hop on the way.
    pub(crate) has_hop: bool,
    pub(crate) image: Image,
}

/// How the image comes to the hosts behind links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Image {
    /// It is there already, so there is no first stage.
    There,
    Sent,
}

impl Image {
    const ALL: [Self; 2] = [Self::There, Self::Sent];

    fn name(self) -> &'static str {
        if self == Self::There { "there" } else { "sent" }
    }
}

/// The host that no fault reaches.
pub(crate) const HONEST: &str = "local2";
/// The targets of the links, the first behind the tool.
pub(crate) const LINKS: [&str; 2] = ["web1", "web2"];

impl Scene {
    /// The host that the fault reaches.
    pub(crate) fn host(self) -> &'static str {
        if self.has_hop { "web1/web2" } else { LINKS[0] }
    }

    /// The links on the way to it.
    pub(crate) fn links(self) -> &'static [&'static str] {
        &LINKS[..if self.has_hop { 2 } else { 1 }]
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.has_hop { "hop" } else { "link" };
        write!(f, "{},{way},{}", self.job.name(), self.image.name())
    }
}

/// A fault and the place of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Injection {
    pub(crate) scene: Scene,
    pub(crate) link: &'static str,
    pub(crate) direction: Direction,
    /// How many bytes pass before it.
    pub(crate) at: u64,
    pub(crate) fault: Fault,
}

impl Injection {
    /// Any fault, at a place that is left open.
    pub(crate) fn random(random: &mut Random) -> Self {
        let fault = Fault::random(random);
        // An upload costs more time than all the rest of a run.
        let image = if random.below(10) == 0 { Image::Sent } else { Image::There };
        let scene = Scene { job: random.pick(&Job::ALL), has_hop: random.below(2) == 0, image };
        let (link, direction) = (random.pick(scene.links()), random.pick(&Direction::BOTH));
        Self { scene, link, direction, at: 0, fault }
    }

    /// What the launcher of the link reads.
    pub(crate) fn plan(&self) -> String {
        format!("{},{},{},{}", self.link, self.direction.name(), self.at, self.fault)
    }

    /// Reads a plan: the link, and the direction, place and fault.
    pub(crate) fn parse_plan(text: &str) -> Result<(&'static str, Direction, u64, Fault)> {
        let words: Vec<&str> = text.trim().split(',').collect();
        let [link, direction, at, fault] = words[..] else { bail!("{text} is no plan") };
        let link = LINKS.into_iter().find(|known| *known == link).context("no such link")?;
        let direction = Direction::BOTH.into_iter().find(|known| known.name() == direction).context("no direction")?;
        Ok((link, direction, at.parse()?, fault.parse()?))
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.scene, self.plan())
    }
}

impl FromStr for Injection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.splitn(4, ',').collect();
        let [job, way, image, plan] = words[..] else { bail!("{text} is no fault") };
        let job = Job::ALL.into_iter().find(|known| known.name() == job).with_context(|| format!("no job {job}"))?;
        let image = Image::ALL.into_iter().find(|known| known.name() == image).context("no such image")?;
        let scene = Scene { job, has_hop: way == "hop", image };
        let (link, direction, at, fault) = Self::parse_plan(plan)?;
        Ok(Self { scene, link, direction, at, fault })
    }
}
