//! What becomes of processes that a context leaves behind.

use serde::{Deserialize, Serialize};

/// What becomes of the processes below a context when it ends: of those that
/// its functions have started, and of what these have left behind.
///
/// Those that [`process`](crate::process) has started end with their call
/// or the context in any case, with all of their process group.
///
/// ```no_run
/// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
/// use offshoot::connect::Descendants;
///
/// // What its functions start goes on when it ends.
/// let web = router.ssh("web1").descendants(Descendants::Leave).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Descendants {
    /// They live on, as behind a shell: for contexts that start services.
    Leave,
    /// They get SIGTERM, and half a second later SIGKILL, when the context
    /// ends in order, which it also does when its link ends; daemons too. On
    /// Linux; elsewhere as `Leave`.
    #[default]
    End,
    /// The same also when the context is killed, as a local one is together
    /// with its parent: a second process, of half a megabyte, watches over it. On Linux; elsewhere as `Leave`.
    Supervise,
}
