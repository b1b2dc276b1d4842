//! A server of sftp for one client, at stdin and stdout. It may do what its user may do.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions, ReadDir};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use russh_sftp::protocol::{
    Attrs, Data, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::{self, Handler, StatusReply};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::cli::complaint::fail;
use crate::cli::exit::{Exit, Outcome};

/// Files and directories that a client may have open.
const MOST: usize = 1000;
/// The most bytes of one read. A client that asks for more asks again.
const MOST_READ: u32 = 256 * 1024;
/// Entries of a directory in one reply.
const ENTRIES: usize = 100;
/// What a client may ask for beyond the protocol, each with its version.
const EXTENSIONS: [(&str, &str); 3] =
    [("posix-rename@openssh.com", "1"), ("hardlink@openssh.com", "1"), ("fsync@openssh.com", "1")];

/// Serves the client until its input ends.
pub(crate) fn serve() -> Exit {
    // As sshd begins there. Without a home it begins where it is.
    if let Some(home) = std::env::var_os("HOME") {
        let _ = std::env::set_current_dir(home);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error),
    };
    runtime.block_on(async {
        let streams = || {
            let [stdin, stdout] =
                [io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?];
            io::Result::Ok((pipe::Receiver::from_owned_fd(stdin)?, pipe::Sender::from_owned_fd(stdout)?))
        };
        let (from, to) = match streams() {
            Ok(streams) => streams,
            Err(error) => return fail(Exit::Usage, &format!("stdin and stdout have to be pipes: {error}")),
        };
        let (ended, end) = oneshot::channel();
        let server = Server { open: HashMap::new(), opened: 0, _ended: ended };
        server::run(tokio::io::join(from, to), server).await;
        // It is dropped with the server.
        let _ = end.await;
        Exit::Done(Outcome::default())
    })
}

/// What is open for the client.
struct Server {
    open: HashMap<String, Open>,
    /// How many were opened so far.
    opened: u64,
    _ended: oneshot::Sender<()>,
}

enum Open {
    File(File),
    Directory(ReadDir),
}

impl Server {
    fn add(&mut self, id: u32, open: Open) -> Result<Handle, StatusReply> {
        if self.open.len() >= MOST {
            return Err(StatusCode::Failure.with_message(format!("{MOST} files are open already")));
        }
        self.opened += 1;
        let handle = self.opened.to_string();
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Result<&File, StatusReply> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(StatusCode::Failure.with_message("no such file is open")),
        }
    }
}

impl Handler for Server {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, StatusReply> {
        let mut version = Version::new();
        version.extensions.extend(EXTENSIONS.map(|(name, number)| (name.to_owned(), number.to_owned())));
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, StatusReply> {
        let mode = attributes.permissions.unwrap_or(0o666) & 0o7777;
        let file = OpenOptions::from(flags).mode(mode).open(filename).map_err(|error| failed(&error))?;
        self.add(id, Open::File(file))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, StatusReply> {
        let is_open = self.open.remove(&handle).is_some();
        done(id, if is_open { Ok(()) } else { Err(ErrorKind::InvalidInput.into()) })
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, StatusReply> {
        let mut data = vec![0; len.min(MOST_READ) as usize];
        let count = self.file(&handle)?.read_at(&mut data, offset).map_err(|error| failed(&error))?;
        if count == 0 {
            return Err(StatusCode::Eof.into());
        }
        data.truncate(count);
        Ok(Data { id, data })
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status, StatusReply> {
        done(id, self.file(&handle)?.write_all_at(&data, offset))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        attrs(id, fs::symlink_metadata(path))
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        attrs(id, fs::metadata(path))
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusReply> {
        attrs(id, self.file(&handle)?.metadata())
    }

    async fn setstat(&mut self, id: u32, path: String, attributes: FileAttributes) -> Result<Status, StatusReply> {
        done(id, set(Path::new(&path), &attributes))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attributes: FileAttributes) -> Result<Status, StatusReply> {
        done(id, set_open(self.file(&handle)?, &attributes))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusReply> {
        let entries = fs::read_dir(path).map_err(|error| failed(&error))?;
        self.add(id, Open::Directory(entries))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusReply> {
        let Some(Open::Directory(entries)) = self.open.get_mut(&handle) else {
            return Err(StatusCode::Failure.with_message("no such directory is open"));
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&error))?;
            // One that has gone in the meantime is no longer an entry.
            let Ok(metadata) = entry.metadata() else { continue };
            files.push(Entry::new(entry.file_name().to_string_lossy(), attributes(&metadata)));
            if files.len() == ENTRIES {
                break;
            }
        }
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, StatusReply> {
        done(id, fs::remove_file(filename))
    }

    async fn mkdir(&mut self, id: u32, path: String, attributes: FileAttributes) -> Result<Status, StatusReply> {
        let made = fs::create_dir(&path).and_then(|()| set(Path::new(&path), &attributes));
        done(id, made)
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, StatusReply> {
        done(id, fs::remove_dir(path))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusReply> {
        let whole = real(Path::new(if path.is_empty() { "." } else { &path })).map_err(|error| failed(&error))?;
        Ok(Name { id, files: vec![Entry::dummy(whole.to_string_lossy())] })
    }

    async fn rename(&mut self, id: u32, old: String, new: String) -> Result<Status, StatusReply> {
        // The protocol lets it replace nothing. Clients that want that ask for posix-rename.
        let is_free = fs::symlink_metadata(&new).is_err();
        done(id, if is_free { fs::rename(old, new) } else { Err(ErrorKind::AlreadyExists.into()) })
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, StatusReply> {
        let target = fs::read_link(path).map_err(|error| failed(&error))?;
        Ok(Name { id, files: vec![Entry::dummy(target.to_string_lossy())] })
    }

    /// The clients of OpenSSH, and so all others, send the target before the link, and not as the protocol has it.
    async fn symlink(&mut self, id: u32, target: String, link: String) -> Result<Status, StatusReply> {
        done(id, symlink(target, link))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, StatusReply> {
        let strings = strings(&data);
        let result = match (request.as_str(), strings.as_slice()) {
            ("posix-rename@openssh.com", [old, new]) => fs::rename(old, new),
            ("hardlink@openssh.com", [old, new]) => fs::hard_link(old, new),
            ("fsync@openssh.com", [handle]) => self.file(&handle.to_string_lossy())?.sync_all(),
            _ => return Err(StatusCode::OpUnsupported.into()),
        };
        done(id, result).map(Packet::Status)
    }
}

/// The strings of a request that the crate does not know.
fn strings(mut data: &[u8]) -> Vec<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    let mut strings = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let Some((string, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else { break };
        strings.push(OsStr::from_bytes(string));
        data = rest;
    }
    strings
}

fn done(id: u32, result: io::Result<()>) -> Result<Status, StatusReply> {
    result.map_err(|error| failed(&error))?;
    Ok(Status { id, status_code: StatusCode::Ok, error_message: "Ok".into(), language_tag: "en".into() })
}

fn failed(error: &io::Error) -> StatusReply {
    match error.kind() {
        ErrorKind::NotFound => StatusCode::NoSuchFile.into(),
        ErrorKind::PermissionDenied => StatusCode::PermissionDenied.into(),
        _ => StatusCode::Failure.with_message(error.to_string()),
    }
}

fn attrs(id: u32, metadata: io::Result<fs::Metadata>) -> Result<Attrs, StatusReply> {
    let metadata = metadata.map_err(|error| failed(&error))?;
    Ok(Attrs { id, attrs: attributes(&metadata) })
}

fn attributes(metadata: &fs::Metadata) -> FileAttributes {
    // The protocol counts seconds by 32 bits.
    let seconds = |time: i64| u32::try_from(time).unwrap_or_default();
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: Some(seconds(metadata.atime())),
        mtime: Some(seconds(metadata.mtime())),
        ..FileAttributes::default()
    }
}

/// Sets what is given, of a path whose links are followed. The mode comes behind the owner, because the system takes some
/// bits of it from a file that changes its owner.
fn set(path: &Path, attributes: &FileAttributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        OpenOptions::new().write(true).open(path)?.set_len(size)?;
    }
    if attributes.uid.is_some() || attributes.gid.is_some() {
        chown(path, attributes.uid, attributes.gid)?;
    }
    if let Some(mode) = attributes.permissions {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(accessed), Some(modified)) = (attributes.atime, attributes.mtime) {
        let [accessed, modified] = [accessed, modified].map(|time| TimeSpec::new(time.into(), 0));
        utimensat(nix::fcntl::AT_FDCWD, path, &accessed, &modified, UtimensatFlags::FollowSymlink)?;
    }
    Ok(())
}

/// The same of a file that is open.
fn set_open(file: &File, attributes: &FileAttributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        file.set_len(size)?;
    }
    if attributes.uid.is_some() || attributes.gid.is_some() {
        fchown(file, attributes.uid, attributes.gid)?;
    }
    if let Some(mode) = attributes.permissions {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(accessed), Some(modified)) = (attributes.atime, attributes.mtime) {
        let [accessed, modified] =
            [accessed, modified].map(|time| SystemTime::UNIX_EPOCH + Duration::from_secs(time.into()));
        file.set_times(FileTimes::new().set_accessed(accessed).set_modified(modified))?;
    }
    Ok(())
}

/// The path without links. Its last part need not exist, as for a file that will be written.
fn real(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let whole = std::path::absolute(path)?;
            match (whole.parent(), whole.file_name()) {
                (Some(parent), Some(name)) => {
                    Ok(fs::canonicalize(parent).map_or_else(|_| whole.clone(), |at| at.join(name)))
                }
                _ => Ok(whole),
            }
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_a_request_are_found_within_its_bytes() {
        let two = [&4_u32.to_be_bytes()[..], b"/a b", &0_u32.to_be_bytes()].concat();
        assert_eq!(strings(&two), ["/a b", ""]);
        let short = [&u32::MAX.to_be_bytes()[..], b"abc"].concat();
        assert!(strings(&short).is_empty() && strings(b"\0\0").is_empty());
    }

    #[test]
    fn a_path_need_not_exist_yet() {
        let place = tempfile::tempdir().unwrap();
        let whole = fs::canonicalize(place.path()).unwrap();
        symlink(&whole, whole.join("link")).unwrap();
        assert_eq!(real(&whole.join("link")).unwrap(), whole);
        assert_eq!(real(&whole.join("link/new")).unwrap(), whole.join("new"));
        assert_eq!(real(Path::new("/no/such/file")).unwrap(), Path::new("/no/such/file"));
    }
}
