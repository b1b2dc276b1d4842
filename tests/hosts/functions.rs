//! Functions that copies of this binary export.

use std::io;

use offshoot::{ContextId, Econtext, Error, export};

pub(crate) fn double(number: u64) -> u64 {
    number * 2
}

pub(crate) fn refuse(what: String) -> io::Result<()> {
    Err(io::Error::other(format!("no {what} today")))
}

pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// The arguments and the environment of a context.
pub(crate) fn surroundings() -> (Vec<String>, Vec<(String, String)>) {
    (std::env::args().collect(), std::env::vars().collect())
}

/// The user and group in all three ids, all groups, and the working directory.
type Identity = ([u32; 3], [u32; 3], Vec<u32>, String);

/// The identity of a context, and its machine.
pub(crate) fn identity() -> io::Result<Identity> {
    let (uids, gids) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    let groups = nix::unistd::getgroups()?.into_iter().map(|group| group.as_raw()).collect();
    let place = std::env::current_dir()?.display().to_string();
    let uids = [uids.real, uids.effective, uids.saved].map(|id| id.as_raw());
    Ok((uids, [gids.real, gids.effective, gids.saved].map(|id| id.as_raw()), groups, place))
}

/// Leaves the tree, and lives until there is a file of this name.
pub(crate) async fn live_alone(econtext: &Econtext, until: String) -> Result<(), Error> {
    econtext.detach().await?;
    while !std::path::Path::new(&until).exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Asks another context for its pid, and returns the result.
pub(crate) async fn ask(econtext: &Econtext, other: ContextId) -> String {
    match econtext.router().context_by_id(other).call(pid, ()).await {
        Ok(pid) => format!("answered {pid}"),
        Err(Error::Channel(error)) => error.reason,
        Err(error) => format!("{error:?}"),
    }
}

export!(double, refuse, pid, surroundings, identity, live_alone);
export!(concurrent ask);
