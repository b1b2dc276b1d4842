//! What the two directions of a link carry in a run without a fault, and which of its bytes matter.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::random::Random;

use super::fault::{Direction, Image, Scene};
use super::interposer::RECORD;

/// Every byte of a header and this many bytes of a payload are of interest, and so are the first and last bytes of an image.
const OF_INTEREST: usize = 64;
const HEADER: usize = 32;
/// The first bytes of a frame, and those of the magic before hello.
const FRAME: [u8; 2] = [0x4f, 0x53];
const USER_LANE: u8 = 1;
const MAGIC: [u8; 8] = [0x89, 0x4f, 0x46, 0x53, 0x0d, 0x0a, 0x1a, 0x0a];

/// The streams of one scene, by link and direction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(BTreeMap<(&'static str, Direction), Stream>);

/// One direction of a link.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) length: u64,
    /// The places in the dialogue and in the frames, without the inside of the image and of long payloads.
    pub(crate) places: Vec<u64>,
    /// How many bytes come before the first frame.
    pub(crate) dialogue: u64,
    /// How many bytes there are up to the end of the last frame of the user lane. If it comes from the child, that is the reply
    /// to the call that is the job.
    pub(crate) needed: u64,
}

impl Streams {
    /// Reads what the launchers of a run have recorded.
    pub(crate) fn read(scene: Scene, place: &Path) -> Result<Self> {
        let mut streams = BTreeMap::new();
        for link in scene.links() {
            for direction in Direction::BOTH {
                let file = place.join(format!("{RECORD}.{link}.{}", direction.name()));
                let bytes = fs::read(&file).with_context(|| format!("no record of {link}"))?;
                streams.insert((*link, direction), Stream::of(&bytes, scene.image, direction)?);
            }
        }
        Ok(Self(streams))
    }

    pub(crate) fn of(&self, link: &'static str, direction: Direction) -> Result<&Stream> {
        self.0.get(&(link, direction)).context("no such stream")
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, Direction, &Stream)> {
        self.0.iter().map(|((link, direction), stream)| (*link, *direction, stream))
    }
}

impl Stream {
    fn of(bytes: &[u8], image: Image, direction: Direction) -> Result<Self> {
        let mut dull = Vec::new();
        let mut at = match direction {
            Direction::Down if image != Image::There => {
                let line = bytes.iter().position(|byte| *byte == b'\n').context("no request")? + 1;
                let size: usize = String::from_utf8_lossy(&bytes[..line]).split(' ').next().unwrap_or("").parse()?;
                dull.push((line + OF_INTEREST, line + size - OF_INTEREST));
                line + size
            }
            Direction::Down => 0,
            Direction::Up => {
                let magic = bytes.windows(MAGIC.len()).position(|bytes| bytes == MAGIC).context("no hello")?;
                magic + MAGIC.len() + 2
            }
        };
        at += 4 + word(bytes, at)?;
        let (dialogue, mut needed) = (at as u64, 0);
        while bytes.get(at..at + 2) == Some(&FRAME) {
            let length = word(bytes, at + 24)?;
            let end = at + HEADER + length;
            if length > 2 * OF_INTEREST {
                dull.push((at + HEADER + OF_INTEREST, end - OF_INTEREST));
            }
            if bytes[at + 3] == USER_LANE {
                needed = end as u64;
            }
            at = end;
        }
        anyhow::ensure!(at == bytes.len(), "byte {at} of {} is no frame", bytes.len());
        let is_dull = |place: usize| dull.iter().any(|(from, to)| (*from..*to).contains(&place));
        let places = (0..=bytes.len()).filter(|place| !is_dull(*place)).map(|place| place as u64).collect();
        Ok(Self { length: bytes.len() as u64, places, dialogue, needed })
    }

    /// A place: mostly one of interest, otherwise any.
    pub(crate) fn random(&self, random: &mut Random) -> u64 {
        if random.below(3) > 0 { random.pick(&self.places) } else { random.below(self.length + 1) }
    }
}

fn word(bytes: &[u8], at: usize) -> Result<usize> {
    let word = bytes.get(at..at + 4).and_then(|bytes| bytes.first_chunk()).context("it is cut")?;
    Ok(u32::from_be_bytes(*word) as usize)
}
