//! Output that `--json` keeps until the end: in memory, and above [`MAX_IN_MEMORY`] in one file without a name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::cli::output::line::whole_characters;
use crate::cli::output::report::Stream;
use crate::sys::unnamed_file::unnamed_file;

/// Most output that is kept from one host, both streams together, in bytes.
pub(crate) const MAX_OF_HOST: usize = 64 << 20;
/// Most output that is kept from all hosts together, in bytes.
pub(crate) const MAX_OF_ALL: usize = 512 << 20;
/// Most output that is kept in memory, in bytes: more than most runs print, and little compared with the rest
/// of the tool.
const MAX_IN_MEMORY: usize = 16 << 20;

/// State that the hosts of a run share.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Bytes that are kept from all hosts.
    kept: usize,
    in_memory: usize,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
    /// Whether the file cannot be made or written. Then everything stays in memory.
    has_no_file: bool,
}

/// The output of a host.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    stdout: Part,
    stderr: Part,
    /// The value that a function has returned.
    result: Part,
    /// How many bytes are missing at the end.
    pub(crate) truncated: u64,
}

/// The output of a host, read back.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) result: Vec<u8>,
}

/// A stream of bytes.
#[derive(Debug, Default)]
struct Part {
    /// The offsets and lengths of its beginning in the file, in order.
    spooled: Vec<(u64, usize)>,
    /// The rest of the bytes.
    memory: Vec<u8>,
    size: usize,
}

impl Kept {
    /// Keeps output within the bounds.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8], store: &mut Store) {
        let room = (MAX_OF_HOST - self.stdout.size - self.stderr.size).min(MAX_OF_ALL - store.kept);
        // If some output is missing, all later output is left out, too, so that there are no gaps.
        let kept = match bytes.len() <= room {
            true if self.truncated == 0 => bytes,
            false if self.truncated == 0 => &bytes[..whole_characters(&bytes[..room])],
            _ => &[],
        };
        match stream {
            Stream::Stdout => self.stdout.push(kept, store),
            Stream::Stderr => self.stderr.push(kept, store),
        }
        self.truncated += (bytes.len() - kept.len()) as u64;
    }

    /// Keeps a result, if there is room for the whole text.
    pub(crate) fn keep_result(&mut self, json: &str, store: &mut Store) {
        if json.len() <= MAX_OF_ALL - store.kept {
            self.result.push(json.as_bytes(), store);
        } else {
            self.truncated += json.len() as u64;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stdout.size + self.stderr.size + self.result.size == 0
    }

    /// Forgets all output. What is in the file stays there and is not read.
    pub(crate) fn clear(&mut self, store: &mut Store) {
        let Self { stdout, stderr, result, .. } = std::mem::take(self);
        for part in [stdout, stderr, result] {
            store.kept -= part.size;
            store.in_memory -= part.memory.len();
        }
    }

    /// Returns everything that was kept.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn read(self, store: &Store) -> io::Result<Output> {
        let Self { stdout, stderr, result, .. } = self;
        Ok(Output { stdout: stdout.read(store)?, stderr: stderr.read(store)?, result: result.read(store)? })
    }
}

impl Part {
    fn push(&mut self, bytes: &[u8], store: &mut Store) {
        self.memory.extend_from_slice(bytes);
        self.size += bytes.len();
        store.kept += bytes.len();
        store.in_memory += bytes.len();
    }

    fn spool(&mut self, store: &mut Store) -> io::Result<()> {
        if self.memory.is_empty() {
            return Ok(());
        }
        let file = match &mut store.file {
            Some(file) => file,
            none => none.insert(unnamed_file("json")?),
        };
        file.write_all_at(&self.memory, store.written)?;
        self.spooled.push((store.written, self.memory.len()));
        store.written += self.memory.len() as u64;
        store.in_memory -= self.memory.len();
        self.memory = Vec::new();
        Ok(())
    }

    fn read(self, store: &Store) -> io::Result<Vec<u8>> {
        if self.spooled.is_empty() {
            return Ok(self.memory);
        }
        let file = store.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut all = vec![0; self.size];
        let mut done = 0;
        for (offset, length) in self.spooled {
            file.read_exact_at(&mut all[done..done + length], offset)?;
            done += length;
        }
        all[done..].copy_from_slice(&self.memory);
        Ok(all)
    }
}

impl Store {
    /// Whether the bytes in memory should be moved to the file; see [`Store::spool`].
    pub(crate) fn is_full(&self) -> bool {
        self.in_memory > MAX_IN_MEMORY && !self.has_no_file
    }

    /// Moves the output of these hosts to the file. If that fails, it stays in memory.
    pub(crate) fn spool<'a>(&mut self, hosts: impl Iterator<Item = &'a mut Kept>) {
        let parts = hosts.flat_map(|kept| [&mut kept.stdout, &mut kept.stderr, &mut kept.result]);
        for part in parts {
            if part.spool(self).is_err() {
                self.has_no_file = true;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_a_host_is_bounded_and_has_no_holes() {
        let (mut kept, mut store) = (Kept::default(), Store::default());
        let chunk = vec![b'a'; 1 << 20];
        for _ in 0..63 {
            kept.push(Stream::Stdout, &chunk, &mut store);
        }
        let mut odd = vec![b'a'; (1 << 20) - 2];
        odd.extend_from_slice("€ and more".as_bytes());
        kept.push(Stream::Stderr, &odd, &mut store);
        assert_eq!(kept.stdout.size + kept.stderr.size, MAX_OF_HOST - 2);
        assert_eq!((kept.truncated, store.kept), ("€ and more".len() as u64, MAX_OF_HOST - 2));
        kept.push(Stream::Stdout, b"x", &mut store);
        assert_eq!((kept.truncated, store.kept), ("€ and more".len() as u64 + 1, MAX_OF_HOST - 2));
        assert_eq!(kept.read(&store).unwrap().stdout.len(), 63 << 20);
    }

    #[test]
    fn the_output_of_all_hosts_is_bounded() {
        let mut store = Store { kept: MAX_OF_ALL - 1, ..Store::default() };
        let (mut kept, mut other) = (Kept::default(), Kept::default());
        kept.push(Stream::Stdout, b"abc", &mut store);
        assert_eq!((kept.stdout.memory.as_slice(), kept.truncated, store.kept), (&b"a"[..], 2, MAX_OF_ALL));
        other.push(Stream::Stdout, b"abc", &mut store);
        other.keep_result("[1]", &mut store);
        assert_eq!((other.truncated, store.kept), (6, MAX_OF_ALL));
    }

    #[test]
    fn output_that_is_forgotten_makes_room() {
        let (mut kept, mut store) = (Kept::default(), Store::default());
        kept.push(Stream::Stdout, b"first", &mut store);
        store.spool(std::iter::once(&mut kept));
        kept.push(Stream::Stderr, b"err", &mut store);
        kept.clear(&mut store);
        assert_eq!((store.kept, store.in_memory), (0, 0));
        kept.push(Stream::Stdout, b"second", &mut store);
        assert_eq!(kept.read(&store).unwrap().stdout, b"second");
    }

    #[test]
    fn memory_is_bounded_and_what_goes_to_the_file_comes_back_in_order() {
        let mut store = Store::default();
        let mut hosts = [Kept::default(), Kept::default()];
        let mut expected = [Vec::new(), Vec::new()];
        for n in 0..2000_u32 {
            let (host, chunk) = (n as usize % 2, n.to_be_bytes().repeat(8192));
            expected[host].extend_from_slice(&chunk);
            hosts[host].push(if n % 4 < 2 { Stream::Stdout } else { Stream::Stderr }, &chunk, &mut store);
            if store.is_full() {
                store.spool(hosts.iter_mut());
            }
            let memory: usize = hosts.iter().map(|kept| kept.stdout.memory.len() + kept.stderr.memory.len()).sum();
            assert!(memory == store.in_memory && memory <= MAX_IN_MEMORY + chunk.len(), "{memory}");
        }
        hosts[0].keep_result("[1]", &mut store);
        store.spool(hosts.iter_mut());
        assert_eq!(store.in_memory, 0);
        for (at, kept) in hosts.into_iter().enumerate() {
            let Output { stdout, stderr, result } = kept.read(&store).unwrap();
            let mut chunks = [stdout.chunks(32768), stderr.chunks(32768)];
            for (nth, chunk) in expected[at].chunks(32768).enumerate() {
                assert!(chunks[nth % 2].next() == Some(chunk), "{at} {nth}");
            }
            assert_eq!(result, if at == 0 { &b"[1]"[..] } else { b"" });
        }
    }

    #[test]
    fn without_a_file_all_stays_in_memory() {
        let mut store = Store { file: Some(File::open("/dev/null").unwrap()), ..Store::default() };
        let mut kept = Kept::default();
        kept.push(Stream::Stdout, &vec![b'x'; MAX_IN_MEMORY + 1], &mut store);
        assert!(store.is_full());
        store.spool(std::iter::once(&mut kept));
        assert!(!store.is_full());
        kept.push(Stream::Stdout, b"y", &mut store);
        assert!(kept.read(&store).unwrap().stdout.ends_with(b"xy"));
    }
}
