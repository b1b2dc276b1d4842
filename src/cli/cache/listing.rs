//! What a host keeps: read from what it says, and shown. What it says is a claim, so every word of it is checked.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::Error;
use crate::cli::args::cache::What;
use crate::cli::output::{safe_json, visible};

/// The length of a name: a SHA-256 in hexadecimal.
const NAME: usize = 64;
/// Enough of it to tell images apart on the screen.
const SHORT: usize = 12;

/// The images in the cache of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Empty if the user has no home.
    directory: String,
    images: Vec<KeptImage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeptImage {
    /// Its SHA-256.
    name: String,
    size: u64,
    /// Seconds since it was kept; `None` if the host cannot say.
    age: Option<u64>,
    /// Whether this program sends it.
    is_current: bool,
    is_removed: bool,
}

impl Kept {
    /// Reads the directory, the time, and a line for each file: its size, its time, and its name. Files with other
    /// names are none of ours.
    ///
    /// # Errors
    ///
    /// If the text has another form.
    pub(super) fn read(said: &str, current: &HashSet<String>) -> Result<Self, String> {
        let mut lines = said.lines();
        let Some(directory) = lines.next() else { return Ok(Self::default()) };
        let now: Option<u64> = lines.next().and_then(|now| now.parse().ok());
        let mut images = Vec::new();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            let (size, time, name) = (words.next(), words.next(), words.next().unwrap_or_default());
            if name.len() != NAME || !name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                continue;
            }
            let size = size.and_then(|size| size.parse().ok());
            let size = size.ok_or_else(|| format!("it says `{}` about its cache", visible::word(line)))?;
            let time: Option<u64> = time.and_then(|time| time.parse().ok());
            images.push(KeptImage {
                name: name.to_owned(),
                size,
                age: now.zip(time).map(|(now, time)| now.saturating_sub(time)),
                is_current: current.contains(name),
                is_removed: false,
            });
        }
        images.sort_by_key(|image| image.age);
        Ok(Self { directory: directory.to_owned(), images })
    }
}

/// A host, and what it keeps or why that is not known.
#[derive(Debug)]
pub(super) struct HostCache {
    host: String,
    kept: Kept,
    error: Option<String>,
    is_unreachable: bool,
}

impl HostCache {
    pub(super) fn of(host: &str, listed: Result<Kept, String>) -> Self {
        let (kept, error) = match listed {
            Ok(kept) => (kept, None),
            Err(why) => (Kept::default(), Some(why)),
        };
        Self { host: host.to_owned(), kept, error, is_unreachable: false }
    }

    pub(super) fn unreachable(host: &str, error: &Error) -> Self {
        Self { is_unreachable: true, ..Self::of(host, Err(error.to_string())) }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.is_unreachable
    }

    pub(super) fn has_failed(&self) -> bool {
        self.error.is_some() && !self.is_unreachable
    }

    /// Removes the images by `remove`; with `old`, only those that this program does not send.
    pub(super) async fn purge(&mut self, old: bool, remove: impl AsyncFnOnce(Vec<String>) -> Result<(), String>) {
        let mut chosen: Vec<&mut KeptImage> =
            self.kept.images.iter_mut().filter(|image| !old || !image.is_current).collect();
        if chosen.is_empty() {
            return;
        }
        match remove(chosen.iter().map(|image| image.name.clone()).collect()).await {
            Ok(()) => chosen.iter_mut().for_each(|image| image.is_removed = true),
            Err(why) => self.error = Some(why),
        }
    }
}

/// The lines for stdout, and the failures for stderr.
pub(super) fn to_text(caches: &[HostCache], what: What) -> (Vec<u8>, Vec<u8>) {
    let (mut lines, mut failures) = (String::new(), String::new());
    let (mut count, mut bytes) = (0, 0);
    for HostCache { host, kept, error, .. } in caches {
        let host = visible::word(host);
        for image in kept.images.iter().filter(|image| image.is_removed || what == What::Ls) {
            let verb = if image.is_removed { "removed " } else { "" };
            let age = image.age.map_or_else(|| "age unknown".into(), age);
            let current = if image.is_current { ", current" } else { "" };
            let (name, size) = (&image.name[..SHORT], mebibytes(image.size));
            lines.push_str(&format!("{host}: {verb}{name}, {size}, {age}{current}\n"));
            (count, bytes) = (count + 1, bytes + image.size);
        }
        if let Some(why) = error {
            let why = visible::word(&why.replace('\n', "; "));
            failures.push_str(&format!("{host}: {why}\n"));
        }
    }
    let images = if count == 1 { "image" } else { "images" };
    let done = if what == What::Purge { " removed" } else { "" };
    let hosts = if caches.len() == 1 { "1 host".to_owned() } else { format!("{} hosts", caches.len()) };
    failures.push_str(&format!("offshoot: {hosts}: {count} {images}{done}, {}\n", mebibytes(bytes)));
    (lines.into_bytes(), failures.into_bytes())
}

pub(super) fn to_json(caches: &[HostCache]) -> Vec<u8> {
    let image = |image: &KeptImage| {
        json!({
            "sha256": image.name, "size": image.size, "age": image.age, "current": image.is_current,
            "removed": image.is_removed,
        })
    };
    let host = |cache: &HostCache| {
        let HostCache { host, kept, error, .. } = cache;
        let images: Vec<Value> = kept.images.iter().map(image).collect();
        json!({ "host": host, "directory": kept.directory, "images": images, "error": error })
    };
    safe_json::line(&json!({ "v": 1, "cache": caches.iter().map(host).collect::<Vec<_>>() }))
}

fn mebibytes(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn age(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit} old")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(digit: &str) -> String {
        digit.repeat(NAME)
    }

    fn kept() -> Kept {
        let said = format!(
            "/home/amy/.cache/offshoot\n1000300\n2200000 1000000 {}\n1048576 - {}\n7 7 notes.txt\n2200001 1000290 {}\n",
            name("a"),
            name("b"),
            name("c")
        );
        Kept::read(&said, &HashSet::from([name("a")])).unwrap()
    }

    #[test]
    fn what_a_host_keeps_is_read_and_other_files_are_not_counted() {
        let kept = kept();
        let shown: Vec<_> = kept.images.iter().map(|image| (&image.name[..1], image.size, image.age)).collect();
        assert_eq!(shown, [("b", 1 << 20, None), ("c", 2_200_001, Some(10)), ("a", 2_200_000, Some(300))]);
        assert_eq!(kept.directory, "/home/amy/.cache/offshoot");
        assert_eq!(Kept::read("", &HashSet::new()), Ok(Kept::default()));
        let wrong = format!("/c\n1\nmany 1 {}\n", name("a"));
        assert!(Kept::read(&wrong, &HashSet::new()).unwrap_err().contains("it says `many 1 aaa"));
        // Nothing that leads elsewhere can be removed.
        let escape = format!("/c\n1\n1 1 ../{}\n1 1 {}\n", "a".repeat(61), "A".repeat(64));
        assert!(Kept::read(&escape, &HashSet::new()).unwrap().images.is_empty());
    }

    #[test]
    fn images_are_shown_with_their_size_and_age() {
        let mut cache = HostCache::of("web1", Ok(kept()));
        let (lines, summary) = to_text(std::slice::from_ref(&cache), What::Ls);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "web1: bbbbbbbbbbbb, 1.0 MiB, age unknown\nweb1: cccccccccccc, 2.1 MiB, 10 s old\n\
             web1: aaaaaaaaaaaa, 2.1 MiB, 5 min old, current\n"
        );
        assert_eq!(summary, b"offshoot: 1 host: 3 images, 5.2 MiB\n");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut removed = Vec::new();
        runtime.block_on(cache.purge(true, async |names| {
            removed = names;
            Ok(())
        }));
        assert_eq!(removed, [name("b"), name("c")]);
        let (lines, _) = to_text(std::slice::from_ref(&cache), What::Purge);
        assert_eq!(String::from_utf8(lines).unwrap().matches("removed").count(), 2);
        let document: Value = serde_json::from_slice(&to_json(&[cache])).unwrap();
        assert_eq!(document["cache"][0]["images"][2]["removed"], false);
    }

    #[test]
    fn ages_have_units_that_people_use() {
        for (seconds, wanted) in [(0, "0 s old"), (119, "119 s old"), (120, "2 min old"), (7_200, "2 h old")] {
            assert_eq!(age(seconds), wanted);
        }
        assert_eq!(age(400_000), "4 days old");
    }
}
