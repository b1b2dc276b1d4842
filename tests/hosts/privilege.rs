//! Other users: by sudo, su and doas, and by passwords. Real programs ask, on hosts that have users, rules and
//! passwords of their own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use offshoot::connect::{CheckHostKeys, Connect, Doas, Su, Sudo};
use offshoot::error::{ConnectErrorKind, Phase};
use offshoot::facts::host_facts;
use offshoot::{Context, Secret};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::{CONNECT, Fleet};
use crate::functions::{double, surroundings};
use crate::stage::Stage;
use crate::support::tool::{run, tool};
use crate::support::{ONE_SECOND, promised};
use crate::via::stream_error;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("privileges: {name}"), Box::new(trial)));
    add("sudo makes root of who need not give a password", sudo_without_password);
    add("sudo makes root by a password, however it asks", sudo_with_password);
    add("sudo makes any user, also with a login shell", sudo_to_user);
    add("doas makes root and others", doas_to_root);
    add("su makes root and others, whichever kind it is", su_to_root);
    add("a wrong password fails within two seconds of the answer, by name", wrong_passwords);
    add("a wrong password is told from other refusals in a language that nobody knows", other_language);
    add("a password that is not there fails at once, by name", missing_passwords);
    add("what sudo and doas do not allow is named", policy);
    add("ssh takes passwords, answers, passphrases, and a key and a password", ssh_passwords);
    add("ssh with a wrong password or none says so", ssh_wrong_passwords);
    add("ssh accepts a host key once and then insists on it", ssh_accepts);
    add("a question that nobody expects is answered or named", questions);
    add("methods follow each other in any order, five deep", chain);
    add("many become root through one context at once", at_once);
    add("sudo has a terminal and the link is none", stdio);
    add("a sudo that executes in its own place does not hang up", in_place);
    add("where there is no terminal left it is said what to raise", no_terminal);
    add("the tool becomes other users by hops and by -b", tool_becomes);
    add("the tool asks for a password once for all hosts, unseen", tool_asks);
    add("the tool takes passwords of files, commands and descriptors", tool_takes);
    trials
}

impl Stage<'_> {
    pub(crate) fn sudo(&self, via: &Context) -> Connect<Sudo> {
        self.router.sudo().remote_name(&self.mark).connect_timeout(CONNECT).via(via)
    }

    pub(crate) fn su(&self, via: &Context) -> Connect<Su> {
        self.router.su().remote_name(&self.mark).connect_timeout(CONNECT).via(via)
    }

    pub(crate) fn doas(&self, via: &Context) -> Connect<Doas> {
        self.router.doas().remote_name(&self.mark).connect_timeout(CONNECT).via(via)
    }
}

/// The child works, and is this user's.
pub(crate) async fn expect(context: &Context, user: &str) -> Result<()> {
    let facts = context.call(host_facts, ()).await.with_context(|| context.to_string())?;
    let uid = nix::unistd::User::from_name(user)?.context("no such user")?.uid.as_raw();
    ensure!(facts.uid == uid, "{context} is not {user}: {facts:?}");
    ensure!(context.call(double, (21,)).await? == 42, "{context} works");
    let (argv, _) = context.call(surroundings, ()).await?;
    ensure!(argv[0].starts_with("offshoot:"), "{context} is called {argv:?}");
    Ok(())
}

fn sudo_without_password(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        for alias in ["nopass", "strict"] {
            let user = stage.ssh(alias).await?;
            let root = stage.sudo(&user).connect().await.context(alias)?;
            ensure!(root.name() == format!("ssh.{alias}.sudo.root"), "it is called {root}");
            expect(&root, "root").await?;
            let sent = stage.sudo(&user).direct(false).name("sent").connect().await.context(alias)?;
            expect(&sent, "root").await?;
        }
        stage.end().await
    })
}

fn sudo_with_password(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        for (alias, password) in
            [("asked", &fleet.password), ("stars", &fleet.password), ("target", &fleet.root_password)]
        {
            let user = stage.ssh(alias).await?;
            for direct in [true, false] {
                let connect = stage.sudo(&user).password(password.as_str()).direct(direct);
                let root = connect.connect().await.with_context(|| format!("{alias}, direct {direct}"))?;
                expect(&root, "root").await?;
                root.shutdown().await;
            }
        }
        stage.end().await
    })
}

fn sudo_to_user(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh("nopass").await?;
        let other = stage.sudo(&user).username("ofs-bash").connect().await?;
        ensure!(other.name() == "ssh.nopass.sudo.ofs-bash", "it is called {other}");
        expect(&other, "ofs-bash").await?;
        for (name, shell) in [("ofs-bash", "bash"), ("ofs-tcsh", "tcsh"), ("ofs-fish", "fish"), ("root", "any")] {
            if nix::unistd::User::from_name(name)?.is_none() {
                continue;
            }
            let login = stage.sudo(&user).username(name).login(true).set_home(true).connect();
            let login = login.await.with_context(|| format!("login shell {shell}"))?;
            expect(&login, name).await?;
        }
        let kept = stage.sudo(&user).sudo_args(["-H", "-u", "ofs-dash"]).connect().await?;
        expect(&kept, "ofs-dash").await?;
        stage.end().await
    })
}

fn doas_to_root(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh("nopass").await?;
        expect(&stage.doas(&user).connect().await?, "root").await?;
        expect(&stage.doas(&user).direct(false).name("sent").connect().await?, "root").await?;
        expect(&stage.doas(&user).username("ofs-bash").connect().await?, "ofs-bash").await?;
        let user = stage.ssh("asked").await?;
        let root = stage.doas(&user).password(fleet.password.as_str()).connect().await?;
        ensure!(root.name() == "ssh.asked.doas.root", "it is called {root}");
        expect(&root, "root").await?;
        stage.end().await
    })
}

fn su_to_root(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh("norule").await?;
        for su in ["su", &fleet.busybox_su] {
            for direct in [true, false] {
                let connect = stage.su(&user).su_path(su).direct(direct).password(fleet.root_password.as_str());
                let root = connect.connect().await.with_context(|| format!("{su}, direct {direct}"))?;
                expect(&root, "root").await?;
                root.shutdown().await;
            }
            let connect = stage.su(&user).su_path(su).username("ofs-asked").password(fleet.password.as_str());
            expect(&connect.connect().await.context(su.to_owned())?, "ofs-asked").await?;
        }
        stage.end().await
    })
}

/// Programs take their time to say that a password is wrong, so that nobody tries many; what is ours is short.
fn wrong_passwords(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let asked = stage.ssh("asked").await?;
        let sudo = stage.sudo(&asked).password("wrong");
        let doas = stage.doas(&asked).password("wrong");
        let su = stage.su(&asked).password("wrong");
        let busybox = stage.su(&asked).su_path(&fleet.busybox_su).password("wrong");
        let start = Instant::now();
        let (sudo, doas, su, busybox) = tokio::join!(sudo.connect(), doas.connect(), su.connect(), busybox.connect());
        ensure!(start.elapsed() < promised(Duration::from_secs(5)), "it took {:?}", start.elapsed());
        for (error, tool) in [(sudo, "sudo"), (doas, "doas"), (su, "su"), (busybox, "su")] {
            let error = stream_error(error)?;
            ensure!((error.kind, error.phase) == (ConnectErrorKind::Password, Phase::Login), "{error:?}");
            ensure!(error.text.starts_with(&format!("{tool} password is incorrect, for ofs-asked")), "{error}");
            ensure!(error.hop == format!("ssh.asked.{tool}.root"), "{error:?}");
            ensure!(!error.to_string().contains("wrong"), "the secret is in {error}");
        }
        expect(&asked, "ofs-asked").await?;
        stage.end().await
    })
}

/// sudo asks once here, so there is no second question by which one could tell.
fn other_language(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let german = async |alias: &str| {
            let user = stage.ssh(alias).await?;
            let german = stage.router.local().exec_prefix(["env", "LC_ALL=de_DE.UTF-8"]).via(&user);
            anyhow::Ok(german.remote_name(&stage.mark).connect_timeout(CONNECT).connect().await?)
        };
        let user = german("one-try").await?;
        let start = Instant::now();
        let sudo = stage.sudo(&user).password("wrong");
        let doas = stage.doas(&user).password("wrong");
        let su = stage.su(&user).password_prompt("Passwort:").password("wrong");
        let (sudo, doas, su) = tokio::join!(sudo.connect(), doas.connect(), su.connect());
        ensure!(start.elapsed() < promised(Duration::from_secs(5)), "it took {:?}", start.elapsed());
        for (error, tool, said) in [
            (sudo, "sudo", "Fehlversuch bei der Passwort-Eingabe"),
            (doas, "doas", ""),
            (su, "su", "Fehler bei Authentifizierung"),
        ] {
            let error = stream_error(error)?;
            ensure!((error.kind, error.phase) == (ConnectErrorKind::Password, Phase::Login), "{error:?}");
            ensure!(error.text.starts_with(&format!("{tool} password is incorrect, for ofs-one-try")), "{error}");
            ensure!(error.text_with_advice().contains(said), "{error}");
            ensure!(error.hop.ends_with(&format!(".{tool}.root")), "{error:?}");
        }
        expect(&stage.sudo(&user).password(fleet.password.as_str()).connect().await?, "root").await?;

        // A password that is right, and a refusal all the same. In words that are known ...
        let one = stage.ssh("one-try").await?;
        let target = stage.ssh("target").await?;
        let norule = stage.ssh("norule").await?;
        for (connect, words) in [
            (stage.sudo(&norule), "sudo policy: ofs-norule is not in the sudoers file"),
            (stage.sudo(&target).username("ofs-expired"), "sudo policy: sudo: account validation failure"),
        ] {
            let error = stream_error(connect.password(fleet.password.as_str()).connect().await)?;
            ensure!(error.kind == ConnectErrorKind::Auth && error.text_with_advice().contains(words), "{error:?}");
        }
        // ... in others, which are told ...
        let norule = german("norule").await?;
        let error = stream_error(stage.sudo(&norule).password(fleet.password.as_str()).connect().await)?;
        ensure!(error.text_with_advice().contains("unless this says otherwise: »ofs-norule« ist nicht"), "{error:?}");
        // ... and a login shell that says nothing is no refusal.
        let nothing = stage.sudo(&one).username("ofs-false").login(true).password(fleet.password.as_str());
        let error = stream_error(nothing.connect().await)?;
        ensure!(error.kind == ConnectErrorKind::Eof, "{error:?}");
        stage.end().await
    })
}

fn missing_passwords(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let asked = stage.ssh("asked").await?;
        let start = Instant::now();
        for (error, tool) in [
            (stage.sudo(&asked).connect().await, "sudo"),
            (stage.doas(&asked).connect().await, "doas"),
            (stage.su(&asked).connect().await, "su"),
            (stage.su(&asked).su_path(&fleet.busybox_su).connect().await, "su"),
        ] {
            let error = stream_error(error)?;
            ensure!((error.kind, error.phase) == (ConnectErrorKind::Password, Phase::Login), "{error:?}");
            ensure!(error.text.starts_with(&format!("{tool} password is required")), "{error}");
        }
        ensure!(start.elapsed() < promised(Duration::from_secs(2)), "it took {:?}", start.elapsed());
        stage.end().await
    })
}

fn policy(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let norule = stage.ssh("norule").await?;
        let password = fleet.password.as_str();
        let error = stream_error(stage.sudo(&norule).password(password).connect().await)?;
        ensure!(error.kind == ConnectErrorKind::Auth && error.text_with_advice().contains("sudo policy"), "{error:?}");
        let error = stream_error(stage.doas(&norule).password(password).connect().await)?;
        ensure!(error.kind == ConnectErrorKind::Auth && error.text_with_advice().contains("doas policy"), "{error:?}");
        let error = stream_error(stage.su(&norule).username("ofs-nobody").connect().await)?;
        ensure!(matches!(error.kind, ConnectErrorKind::Auth | ConnectErrorKind::Password), "{error:?}");
        let nopass = stage.ssh("nopass").await?;
        let error = stream_error(stage.sudo(&nopass).username("ofs-nobody").connect().await)?;
        ensure!(error.kind == ConnectErrorKind::Auth && error.text_with_advice().contains("ofs-nobody"), "{error:?}");
        let error = stream_error(stage.sudo(&nopass).sudo_path("/nonexistent/sudo").connect().await)?;
        ensure!(error.kind == ConnectErrorKind::Start && error.text_with_advice().contains("[Errno 2]"), "{error:?}");
        let error = stream_error(stage.sudo(&nopass).sudo_args(["-b"]).connect().await)?;
        ensure!(error.text == "sudo: no such option: -b", "{error:?}");
        stage.end().await
    })
}

fn ssh_passwords(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        for alias in ["ssh-password", "ssh-questions", "ssh-both"] {
            let connect = fleet.ssh(&stage.router, alias, &stage.mark).password(fleet.password.as_str());
            // Here it is the key of ssh_config that is wanted as well.
            let there = connect.identities_only(alias != "ssh-both").connect().await.context(alias)?;
            expect(&there, "ofs-asked").await?;
        }
        let connect = fleet.ssh(&stage.router, "ssh-locked-key", &stage.mark).passphrase(fleet.passphrase.as_str());
        expect(&connect.connect().await?, "ofs-locked").await?;
        // Somebody has told ssh to ask elsewhere.
        let elsewhere = ["env", "SSH_ASKPASS_REQUIRE=force", "SSH_ASKPASS=/bin/false", "DISPLAY=:0"];
        let local = stage.router.local().remote_name(&stage.mark).exec_prefix(elsewhere).connect().await?;
        let connect = fleet.ssh(&stage.router, "ssh-password", &stage.mark).password(fleet.password.as_str());
        expect(&connect.via(&local).connect().await?, "ofs-asked").await?;
        stage.end().await
    })
}

fn ssh_wrong_passwords(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let ssh = |alias: &str| fleet.ssh(&stage.router, alias, &stage.mark);
        for (connect, text) in [
            (ssh("ssh-password").password("wrong"), "SSH password is incorrect"),
            (ssh("ssh-questions").password("wrong"), "SSH password is incorrect"),
            (ssh("ssh-both").password("wrong"), "SSH password is incorrect"),
            (ssh("ssh-password"), "SSH password was requested, but none specified"),
            (ssh("ssh-questions"), "SSH password was requested, but none specified"),
            (ssh("ssh-password").passphrase("x"), "SSH password was requested, but none specified"),
            (ssh("ssh-locked-key").passphrase("wrong"), "SSH key passphrase is incorrect"),
        ] {
            let error = stream_error(connect.connect().await)?;
            ensure!((error.kind, error.phase) == (ConnectErrorKind::Password, Phase::Login), "{text}: {error:?}");
            ensure!(error.text.starts_with(text), "{text}: {error}");
        }
        stage.end().await
    })
}

fn ssh_accepts(fleet: &Fleet) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = format!("UserKnownHostsFile={}", directory.path().join("known").display());
    block_on(async {
        let stage = Stage::new(fleet)?;
        // ssh's own question, which is asked where the user wants to be asked.
        let ask = ["-o", &file, "-o", "StrictHostKeyChecking=ask", "-o", "UpdateHostKeys=no"];
        let ssh = || {
            stage.router.ssh("here-user").ssh_args(ask).ssh_args(["-F".to_owned(), fleet.config.display().to_string()])
        };
        let ssh = || ssh().remote_name(&stage.mark).connect_timeout(CONNECT);
        let error = stream_error(ssh().check_host_keys(CheckHostKeys::Enforce).password("unused").connect().await)?;
        ensure!(error.kind == ConnectErrorKind::HostKey, "{error:?}");
        let there = ssh().check_host_keys(CheckHostKeys::Accept).connect().await?;
        expect(&there, &fleet.user).await?;
        ensure!(!std::fs::read_to_string(directory.path().join("known"))?.is_empty(), "the key is kept");
        let again = ssh().check_host_keys(CheckHostKeys::Enforce).connect().await?;
        expect(&again, &fleet.user).await?;
        stage.end().await
    })
}

/// A program that asks as PAM modules do, and then becomes sudo.
const ASKS: &str = r#"#!/bin/sh
stty -echo </dev/tty
printf 'Verification code: ' >/dev/tty
read code </dev/tty
stty echo </dev/tty
echo >/dev/tty
[ "$code" = 424242 ] || { echo 'sudo: wrong code' >&2; exit 1; }
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"#;

fn questions(fleet: &Fleet) -> Result<()> {
    let (_directory, program) = program(ASKS)?;
    block_on(async {
        let stage = Stage::new(fleet)?;
        let sudo = || stage.router.sudo().sudo_path(&program).remote_name(&stage.mark).connect_timeout(CONNECT);
        let error = stream_error(sudo().connect().await)?;
        ensure!(
            error.kind == ConnectErrorKind::Password && error.text_with_advice().contains("Verification code:"),
            "{error:?}"
        );
        let answer = |question: &str| (question == "Verification code:").then(|| Secret::from("424242"));
        expect(&sudo().on_question(answer).connect().await?, "root").await?;
        let error = stream_error(sudo().on_question(|_| None).connect().await)?;
        ensure!(error.kind == ConnectErrorKind::Password, "{error:?}");
        let local = stage.router.local().remote_name(&stage.mark).connect().await?;
        expect(&sudo().on_question(answer).via(&local).connect().await?, "root").await?;
        stage.end().await
    })
}

fn chain(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let asked = stage.ssh("asked").await?;
        let root = stage.sudo(&asked).password(fleet.password.as_str()).connect().await?;
        let user = stage.su(&root).username("ofs-nopass").connect().await?;
        expect(&user, "ofs-nopass").await?;
        let root = stage.doas(&user).connect().await?;
        let local = stage.router.local().remote_name(&stage.mark).via(&root).connect().await?;
        let other = stage.sudo(&local).username("ofs-bash").connect().await?;
        expect(&other, "ofs-bash").await?;
        ensure!(other.name().starts_with("ssh.asked.sudo.root.su.ofs-nopass.doas.root.local."), "it is called {other}");
        // What fails at the end of it says where.
        let error = stream_error(stage.sudo(&other).connect().await)?;
        ensure!(error.hop.starts_with(other.name()) && error.hop.ends_with(".sudo.root"), "{error:?}");
        let start = Instant::now();
        let limit = Duration::from_millis(700);
        let silent = crate::fleet::ssh(&stage.router, "silent", &fleet.config, &stage.mark).via(&local);
        let error = stream_error(silent.connect_timeout(limit).connect().await)?;
        ensure!(error.kind == ConnectErrorKind::Timeout && error.hop.ends_with(".ssh.silent"), "{error:?}");
        ensure!(start.elapsed() < promised(limit), "it took {:?}", start.elapsed());
        stage.end().await
    })
}

fn at_once(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh("asked").await?;
        let tasks = tokio_util::task::TaskTracker::new();
        let connects: Vec<_> = (0..8)
            .map(|number| stage.sudo(&user).password(fleet.password.as_str()).name(format!("root{number}")))
            .map(|connect| tasks.spawn(connect.connect()))
            .collect();
        for connect in connects {
            expect(&connect.await??, "root").await?;
        }
        stage.end().await
    })
}

fn stdio(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let mut stage = Stage::new(fleet)?;
        let user = stage.ssh("nopass").await?;
        let root = stage.sudo(&user).connect().await?;
        let processes = stage.trace.look();
        let sudo = processes.iter().find(|process| process.argv.first().is_some_and(|name| name == "sudo"));
        let sudo = sudo.with_context(|| format!("no sudo among {processes:?}"))?;
        let target = |fd: u32| std::fs::read_link(format!("/proc/{}/fd/{fd}", sudo.pid));
        let link = target(0)?;
        let (input, output) = (link.display().to_string(), target(1)?.display().to_string());
        // One each: what sudo does to one must not be felt in the other.
        let are_two = input.starts_with("socket:") && output.starts_with("socket:") && input != output;
        ensure!(are_two, "the link is {input} and {output}");
        let terminal = target(2)?;
        ensure!(terminal.starts_with("/dev/pts"), "stderr is {terminal:?}");
        let size = std::process::Command::new("stty").arg("-F").arg(&terminal).arg("size").output()?;
        ensure!(size.stdout == b"0 0\n", "its size is {size:?}");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", sudo.pid))?;
        let fields: Vec<&str> = stat.rsplit_once(") ").context("stat")?.1.split(' ').collect();
        ensure!(
            fields[3] == sudo.pid.to_string() && fields[4] != "0",
            "session {} on terminal {}",
            fields[3],
            fields[4]
        );
        expect(&root, "root").await?;
        stage.end().await
    })
}

/// As sudo was long ago: nobody else has the terminal open.
const IN_PLACE: &str = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";

fn in_place(fleet: &Fleet) -> Result<()> {
    let (_directory, program) = program(IN_PLACE)?;
    block_on(async {
        let stage = Stage::new(fleet)?;
        for direct in [true, false] {
            let sudo = stage.router.sudo().sudo_path(&program).direct(direct).remote_name(&stage.mark);
            let root = sudo.connect_timeout(CONNECT).connect().await?;
            expect(&root, "root").await?;
            // Of two children that have begun one after the other the first is still well.
            let local = stage.router.local().remote_name(&stage.mark).via(&root).connect().await?;
            expect(&local, "root").await?;
            expect(&root, "root").await?;
            root.shutdown().await;
        }
        stage.end().await
    })
}

fn no_terminal(_: &Fleet) -> Result<()> {
    const NO_TERMINALS: &str = r#"
mount --make-rprivate / &&
mount -t devpts -o newinstance,ptmxmode=666,max=1 devpts /dev/pts &&
mount --bind /dev/pts/ptmx /dev/ptmx && exec 7<>/dev/ptmx && exec "$@""#;
    let (tool, mut trace) = tool(&["run", "--json", "-w", "local/sudo,local1", "--", "true"]);
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", NO_TERMINALS, "sh"]).arg(tool.get_program()).args(tool.get_args());
    command.envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut command)?;
    let document: serde_json::Value =
        serde_json::from_str(&ended.stdout.concat()).with_context(|| format!("{ended:?}"))?;
    let error = &document["hosts"]["local/sudo"]["error"];
    let text = error["text"].as_str().with_context(|| format!("{ended:?}"))?;
    ensure!(text.contains("Failed to create a PTY") && text.contains("kernel.pty.max"), "{error}");
    ensure!(error["kind"] == "start" && document["hosts"]["local1"]["status"] == "ok", "{document}");
    trace.expect_nothing_left(ONE_SECOND)
}

/// A program, for as long as its directory lives.
pub(crate) fn program(text: &str) -> Result<(tempfile::TempDir, String)> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("sudo");
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok((directory, file.display().to_string()))
}

fn tool_becomes(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    for (args, lines) in [
        (&["-w", "nopass/sudo,nopass/doas"][..], &["nopass/doas: root", "nopass/sudo: root"][..]),
        (
            &["-w", "local/sudo:ofs-bash,web1/su:ofs-dash"],
            &["local/sudo:ofs-bash: ofs-bash", "web1/su:ofs-dash: ofs-dash"],
        ),
        (&["-w", "nopass,strict", "-b"], &["nopass: root", "strict: root"]),
        (&["-w", "nopass", "-b=ofs-bash"], &["nopass: ofs-bash"]),
        (&["-w", "nopass", "--become", "--become-method=doas"], &["nopass: root"]),
    ] {
        let (mut command, mut trace) = tool(&[&["run", "-F", &config], args, &["--", "id", "-un"]].concat());
        let mut ended = run(&mut command)?;
        ended.stdout.sort();
        ensure!(ended.code == Some(0) && ended.stdout == lines, "{args:?}: {ended:?}");
        trace.expect_nothing_left(ONE_SECOND)?;
    }
    // Nobody to ask, and nothing to answer with.
    let (mut command, _) = tool(&["run", "--json", "-F", &config, "-w", "asked", "-b", "--", "id"]);
    let ended = run(&mut command)?;
    let document: serde_json::Value = serde_json::from_str(&ended.stdout.concat())?;
    let error = &document["hosts"]["asked"]["error"];
    ensure!(ended.code == Some(4) && error["kind"] == "password" && error["hop"] == "ssh.asked.sudo.root", "{error}");
    Ok(())
}

pub(crate) fn tool_asks(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    for (args, question, expected) in [
        ("-w asked,stars -bK", "sudo password: ", &["asked: root", "stars: root"][..]),
        ("-w asked/doas,asked/sudo --ask-pass -K", "ssh password: ", &["asked/doas: root", "asked/sudo: root"]),
        (
            "-w ssh-password,ssh-questions --ask-pass",
            "ssh password: ",
            &["ssh-password: ofs-asked", "ssh-questions: ofs-asked"],
        ),
    ] {
        let (tool, mut trace) = tool(&[]);
        // The smallest terminal that there is. Those that sudo and su get from us have no size at all.
        let line = format!(
            "stty rows 1 columns 1; '{}' run --color never --fold never -F '{config}' {args} -- id -un",
            tool.get_program().display()
        );
        // A terminal of its own, which is all that `script` is wanted for.
        let mut command = std::process::Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().context("script")?;
        let (mut keys, mut screen) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let mut shown = String::new();
        let mut asked = 0;
        let mut buffer = [0; 4096];
        loop {
            let count = std::io::Read::read(&mut screen, &mut buffer)?;
            if count == 0 {
                break;
            }
            shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if shown.contains(question) && asked == 0 {
                asked += 1;
                std::io::Write::write_all(&mut keys, format!("{}\r", fleet.password).as_bytes())?;
            }
            if shown.contains("(empty: the one for ssh): ") && asked == 1 {
                asked += 1;
                std::io::Write::write_all(&mut keys, b"\r")?;
            }
        }
        drop(keys);
        child.wait()?;
        ensure!(asked == if args.ends_with("--ask-pass -K") { 2 } else { 1 }, "{args}: {shown}");
        ensure!(!shown.contains(&fleet.password), "the password is shown: {shown}");
        ensure!(expected.iter().all(|line| shown.contains(line)), "{args}: {shown}");
        trace.expect_nothing_left(ONE_SECOND)?;
    }
    Ok(())
}

pub(crate) fn tool_takes(fleet: &Fleet) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let config = fleet.config.display().to_string();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("password");
    std::fs::write(&file, format!("{}\n", fleet.password))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let file = file.display().to_string();
    let cat = format!("cat '{file}'");
    for (args, lines) in [
        (&["-w", "asked,stars", "-b", "--become-pass-file", &file][..], &["asked: root", "stars: root"][..]),
        (&["-w", "asked/doas,asked/sudo", "--become-pass-command", &cat], &["asked/doas: root", "asked/sudo: root"]),
        (&["-w", "asked", "-b", "--become-pass-fd", "0"], &["asked: root"]),
        (&["-w", "ssh-password", "--pass-file", &file], &["ssh-password: ofs-asked"]),
        (&["-w", "ssh-questions", "--pass-command", &cat], &["ssh-questions: ofs-asked"]),
        (&["-w", "ssh-password", "-b", "--pass-fd", "0", "--become-pass-fd", "0"], &["ssh-password: root"]),
    ] {
        let (mut command, mut trace) = tool(&[&["run", "-vv", "-F", &config], args, &["--", "id", "-un"]].concat());
        let mut running = crate::support::tool::Running::start(&mut command)?;
        running.stdin().context("stdin")?.write_all(format!("{0}\n{0}\n", fleet.password).as_bytes())?;
        let mut ended = running.finish()?;
        ended.stdout.sort();
        ensure!(ended.code == Some(0) && ended.stdout == lines, "{args:?}: {ended:?}");
        let told = ended.stderr.concat();
        ensure!(told.contains(" is started by ssh: ssh ") && !told.contains(&fleet.password), "{told}");
        trace.expect_nothing_left(ONE_SECOND)?;
    }
    // A wrong one is told as a wrong one that was typed.
    let wrong = ["run", "-F", &config, "-w", "asked", "-b", "--become-pass-command", "echo wrong", "--", "id"];
    let ended = run(&mut tool(&wrong).0)?;
    ensure!(ended.code == Some(4) && ended.stderr.concat().contains("password"), "{ended:?}");
    Ok(())
}
