//! Processes: starting them, ending them, and the descriptors that a child context begins with.
//! Unsafe code is in [`sys`]. Code that differs between platforms is in [`platform`].

#[cfg(not(target_os = "linux"))]
mod bsd;
#[cfg(feature = "cli")]
mod closed;
mod descendants;
mod ending;
mod group;
mod guard;
#[cfg(feature = "cli")]
mod inherited;
mod launch;
#[cfg(target_os = "linux")]
mod namespaces;
mod open_files;
#[cfg(target_os = "freebsd")]
#[path = "process/freebsd.rs"]
mod platform;
#[cfg(target_os = "linux")]
#[path = "process/linux.rs"]
mod platform;
#[cfg(target_os = "macos")]
#[path = "process/macos.rs"]
mod platform;
mod program;
mod random;
#[cfg(feature = "cli")]
mod secrecy;
mod signals;
mod start;
mod started;
mod stdio;
mod sys;
mod usage;

#[cfg(not(target_os = "linux"))]
pub(crate) use bsd::sealed_copy;
#[cfg(feature = "cli")]
pub(crate) use closed::stdout_was_closed;
#[cfg(target_os = "linux")]
pub(crate) use descendants::spare;
pub(crate) use descendants::{
    Known, adopt_orphans, end_descendants, mark_detached, outlive_parent, reap_orphans, supervise,
};
pub(crate) use ending::{describe, end_child};
pub(crate) use group::{Group, groups_ended};
#[cfg(feature = "cli")]
pub(crate) use inherited::{inherit_nothing, inherited};
#[cfg(feature = "cli")]
pub(crate) use launch::SSH_DEPTH;
pub(crate) use launch::{Launch, Launched, Stdio, launch};
#[cfg(target_os = "linux")]
pub(crate) use namespaces::{Namespaces, become_user, sealed_copy, wait_for_successor};
pub(crate) use open_files::{is_out_of_files, open_files_limit, raise_open_files};
pub(crate) use platform::{memory, own_executable, own_start, terminal_name};
pub(crate) use program::Program;
pub(crate) use random::random;
#[cfg(feature = "cli")]
pub(crate) use secrecy::{Secrecy, keep_in_memory};
pub(crate) use signals::ignore_file_limit;
#[cfg(feature = "cli")]
pub(crate) use signals::{prepare_signals, with_usual_settings};
pub(crate) use start::{Start, null};
pub(crate) use started::Started;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use stdio::keep_stdio;
pub(crate) use stdio::{ChildFds, close_stdio, take_stdio};
pub(crate) use sys::{
    adopt, die_in_order_with_parent, dup_high, exit_now, heed_children, is_ignored, read_into, replace, set_variable,
    watch,
};
#[cfg(target_os = "linux")]
pub(crate) use sys::{die_with_parent, replace_environment};
pub(crate) use usage::usage;
