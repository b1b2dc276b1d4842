//! `offshoot forward` through ssh, sudo and a container: what listens there is reached from here.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::OnHosts;
use crate::copies::tree::noise;
use crate::fleet::Fleet;
use crate::support::A_WHILE;
use crate::support::tool::{Running, tool};

/// Where the server listens, by the end of a path that leads there.
const WAYS: [(&str, &str); 3] = [
    ("ssh", "web1"),
    ("ssh and sudo", "nopass/sudo"),
    // It has a network of its own, and so nothing but the tool reaches its ports.
    ("docker behind ssh", "engines/docker:tools"),
];
/// Prints its port, and sends back to each of two clients all that it has sent.
const SERVER: &str = "
import socket
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
for _ in range(2):
    peer, _ = listener.accept()
    got = b''.join(iter(lambda: peer.recv(65536), b''))
    peer.sendall(got)
    peer.close()
";

pub(crate) fn trials() -> Vec<OnHosts> {
    let trial = |(name, path): (&str, &'static str)| -> OnHosts {
        let name = format!("forward: a port that only the host reaches is reached from here, through {name}");
        (name, Box::new(move |fleet| pass(fleet, path)))
    };
    WAYS.into_iter().map(trial).collect()
}

fn pass(fleet: &Fleet, path: &str) -> Result<()> {
    let config = fleet.config.display().to_string();
    let (mut command, mut server_trace) =
        tool(&["rsh", "--ssh-config", &config, path, &format!("exec python3 -c \"{SERVER}\"")]);
    let server = Running::start_with(&mut command, Stdio::null())?;
    let port = server.line()?;
    let (mut command, mut trace) = tool(&["forward", "-F", &config, path, "-L", &format!("0:127.0.0.1:{port}")]);
    let running = Running::start(&mut command)?;
    let line = running.line()?;
    let here = line.split_once(" -> ").context(line.clone())?.0;
    let sent = noise(2_000_003);
    for _ in 0..2 {
        let (mut stream, mut got) = (TcpStream::connect(here)?, Vec::new());
        stream.write_all(&sent)?;
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_end(&mut got)?;
        ensure!(got == sent, "{} bytes come back", got.len());
    }
    // It has served both.
    let ended = server.finish()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    server_trace.expect_nothing_left(A_WHILE)?;
    running.signal(Signal::SIGINT)?;
    let ended = running.finish()?;
    ensure!(ended.code == Some(130) && ended.stderr.is_empty(), "{ended:?}");
    trace.expect_nothing_left(A_WHILE)
}
