//! The program that a process becomes.

#![expect(unsafe_code, reason = "exec")]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::libc::{self, c_char};

use crate::sys::process::platform;

/// Where a program is looked for if there is no PATH.
const USUAL_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// The variables of an environment.
pub(crate) type Variables = Vec<(OsString, OsString)>;

/// A program and its arguments.
#[derive(Debug)]
pub(crate) struct Program {
    place: Place,
    argv: Vec<CString>,
}

#[derive(Debug)]
enum Place {
    /// A path, or a name that is looked for in PATH.
    Name(OsString),
    /// An open image. The program inherits the descriptor.
    Image(OwnedFd),
}

impl Program {
    /// The first argument is a path, or a name that is looked for in PATH.
    pub(crate) fn new<A: AsRef<OsStr>>(argv: &[A]) -> io::Result<Self> {
        let Some(name) = argv.first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program given"));
        };
        let argv = argv.iter().map(|arg| CString::new(arg.as_ref().as_bytes())).collect::<Result<_, _>>()?;
        Ok(Self { place: Place::Name(name.as_ref().to_owned()), argv })
    }

    /// An image. An argument `{fd}` is replaced by the number of its descriptor.
    pub(crate) fn image(image: OwnedFd, argv: &[OsString]) -> io::Result<Self> {
        let number = image.as_raw_fd().to_string();
        let argv = argv.iter().map(|arg| if arg == "{fd}" { OsStr::new(&number) } else { arg });
        let argv = argv.map(|arg| CString::new(arg.as_bytes())).collect::<Result<_, _>>()?;
        Ok(Self { place: Place::Image(image), argv })
    }

    /// Makes this process the program. Returns only if that fails.
    pub(crate) fn exec(&self) -> io::Error {
        match self.prepare(&std::env::vars_os().collect()) {
            // SAFETY: this process ends with it.
            Ok(prepared) => unsafe { prepared.exec() },
            Err(error) => error,
        }
    }

    /// Allocates all that the exec needs.
    pub(super) fn prepare(&self, variables: &Variables) -> io::Result<Prepared<'_>> {
        let (mut files, mut image) = (Vec::new(), None);
        match &self.place {
            Place::Image(open) => image = Some(open.as_raw_fd()),
            Place::Name(name) if name.as_bytes().contains(&b'/') => files.push(CString::new(name.as_bytes())?),
            Place::Name(name) => {
                let path = variables.iter().find(|(name, _)| name == "PATH");
                let path = path.map_or(USUAL_PATH.as_bytes(), |(_, value)| value.as_bytes());
                for directory in path.split(|byte| *byte == b':') {
                    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
                    files.push(CString::new([directory, slash, name.as_bytes()].concat())?);
                }
            }
        }
        let mut texts = Vec::with_capacity(variables.len());
        for (name, value) in variables {
            texts.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        let (argv, env) = (pointers(&self.argv), pointers(&texts));
        Ok(Prepared { files, image, argv, env, _texts: texts, _program: self })
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    pointers.push(std::ptr::null());
    pointers
}

/// A program that can be executed without allocating.
pub(super) struct Prepared<'a> {
    /// The first of these that can be executed, if there is no image.
    files: Vec<CString>,
    image: Option<RawFd>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    _texts: Vec<CString>,
    _program: &'a Program,
}

impl Prepared<'_> {
    /// Executes it. Returns only if that fails. Allocates nothing.
    ///
    /// # Safety
    ///
    /// No other code of this process relies on running after it.
    pub(super) unsafe fn exec(&self) -> io::Error {
        let (argv, env) = (self.argv.as_ptr(), self.env.as_ptr());
        if let Some(image) = self.image {
            // SAFETY: both arrays are NUL-terminated and live until the program replaces this one.
            unsafe {
                libc::fcntl(image, libc::F_SETFD, 0);
                platform::exec_fd(image, argv, env);
            }
            return io::Error::last_os_error();
        }
        // As C libraries do it: that a file may not be executed matters only if there is no other.
        let mut why = libc::ENOENT;
        for file in &self.files {
            // SAFETY: as above.
            unsafe { libc::execve(CStr::as_ptr(file), argv, env) };
            match Errno::last_raw() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => why = libc::EACCES,
                other => return io::Error::from_raw_os_error(other),
            }
        }
        io::Error::from_raw_os_error(why)
    }
}
