//! sudo-rs, the sudo that is written in Rust. It has its own words for questions and refusals.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use offshoot::error::{ConnectErrorKind, Phase};
use offshoot::facts::host_facts;

use crate::OnHosts;
use crate::boxes::by;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::stage::Stage;
use crate::support::promised;
use crate::via::stream_error;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("sudo-rs makes root and others, with a password and without", right);
    add("what sudo-rs refuses is told apart", wrong);
    trials
}

fn right(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        for (alias, password) in [("sudo-rs-nopass", None), ("sudo-rs", Some(&fleet.password))] {
            let user = stage.ssh(alias).await?;
            for (direct, name) in [(true, "root"), (false, "root"), (false, "ofs-bash")] {
                let mut sudo = by!(stage, stage.router.sudo(), &user).direct(direct).username(name);
                if let Some(password) = password {
                    sudo = sudo.password(password.as_str());
                }
                let context = sudo.connect().await.with_context(|| format!("{alias} to {name}, direct {direct}"))?;
                let facts = context.call(host_facts, ()).await?;
                ensure!((facts.uid == 0) == (name == "root"), "{context}: {facts:?}");
                context.shutdown().await;
            }
        }
        stage.end().await
    })
}

fn wrong(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let (asked, norule) = (stage.ssh("sudo-rs").await?, stage.ssh("sudo-rs-norule").await?);
        let sudo = |via| by!(stage, stage.router.sudo(), via);
        let start = Instant::now();
        for (connect, kind, words) in [
            (sudo(&asked).password("wrong"), ConnectErrorKind::Password, "sudo password is incorrect, for ofs-asked"),
            (sudo(&asked), ConnectErrorKind::Password, "sudo password is required, for ofs-asked"),
            (sudo(&norule).password(fleet.password.as_str()), ConnectErrorKind::Auth, "I'm afraid I can't do that"),
            (sudo(&asked).username("ofs-nobody"), ConnectErrorKind::Auth, "ofs-nobody"),
        ] {
            let error = stream_error(connect.connect().await).context(words)?;
            ensure!((error.kind, error.phase) == (kind, Phase::Login), "{error:?}");
            ensure!(error.text_with_advice().contains(words), "{words:?} is not in {error}");
        }
        // PAM takes two seconds to say that a password is wrong, to slow down guessing.
        ensure!(start.elapsed() < promised(Duration::from_secs(6)), "it took {:?}", start.elapsed());
        stage.end().await
    })
}
