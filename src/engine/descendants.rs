//! What happens to processes that a context leaves behind.

use serde::{Deserialize, Serialize};

/// What happens to the processes below a context when the context ends. These are the processes that its
/// functions have started, and the descendants of those.
///
/// This does not concern the processes that [`process`](crate::process) starts. They always end with their
/// call or with the context, together with their process group.
///
/// ```no_run
/// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
/// use offshoot::connect::Descendants;
///
/// // Processes that its functions start continue when the context ends.
/// let web = router.ssh("web1").descendants(Descendants::Leave).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Descendants {
    /// The processes continue to run, as after a shell has ended. For contexts that start services.
    Leave,
    /// When the context ends in order, including when its link ends, the processes get SIGTERM, and SIGKILL
    /// half a second later. This includes daemons. On Linux; elsewhere as `Leave`.
    #[default]
    End,
    /// As `End`, but also if the context is killed. A local context is killed, for example, if its parent is
    /// killed. A second process, which needs half a megabyte of memory, supervises the context. On Linux;
    /// elsewhere as `Leave`.
    Supervise,
}
