//! Starting children: connects as values, and the methods that they take.
//!
//! [`Router`](crate::Router) has a function for each method, as
//! [`Router::ssh`](crate::Router::ssh). It gives a [`Connect`], which takes
//! settings and is awaited.
//!
//! ```no_run
//! # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
//! use offshoot::connect::HostPath;
//!
//! let web = router.ssh("web1").username("deploy").await?;
//! let root = router.sudo().via(&web).await?;
//! // The same by the tool's words, in one connect.
//! let root = router.connect("deploy@web1/sudo".parse::<HostPath>()?).await?;
//! # Ok(()) }
//! ```

pub(crate) mod bootstrap;
pub(crate) mod child;
pub(crate) mod handshake;
pub(crate) mod host_path;
#[cfg(debug_assertions)]
pub(crate) mod large_image;
pub(crate) mod master;
pub(crate) mod methods;
#[cfg(target_os = "linux")]
pub(crate) mod namespace_entry;
pub(crate) mod program;
#[cfg(feature = "cli")]
pub(crate) mod report;
pub(crate) mod run;
#[cfg(feature = "fakessh")]
pub(crate) mod ssh_stand_in;

pub use host_path::{HostPath, PathError};
pub use master::run_with_router;
pub use methods::{
    AnyMethod, Buildah, CHILDREN, CONNECT_TIMEOUT, CheckHostKeys, Connect, Doas, Docker, Fork, Incus, Jail, Keepalive,
    Kubectl, Launcher, Local, Lxc, Lxd, Method, Passes, Podman, Setns, SetnsKind, Ssh, Su, Sudo,
};

pub use crate::engine::descendants::Descendants;
pub use crate::wire::connect_trace::ConnectTrace;
