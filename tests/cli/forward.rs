//! `offshoot forward`: sockets of this machine whose connections a host makes.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::support::process::{Process, below};
use crate::support::tool::{Running, run, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, AT_ONCE, Missing, PATIENCE, wait_for};

/// More than all windows and buffers on the way have room for.
const MUCH: u64 = 256 << 20;
/// What a process on the way may need for it.
const LITTLE: u64 = 16 << 10;

/// Serves each connection of a TCP port by a thread, and returns the address.
fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            thread::spawn(move || each(stream));
        }
    });
    Ok(address)
}

/// Reads all there is, and then sends it back.
fn answer(mut stream: impl Read + Write) {
    let mut all = Vec::new();
    if stream.read_to_end(&mut all).is_ok() {
        let _ = stream.write_all(&all);
    }
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count / 4).flat_map(u32::to_be_bytes).collect()
}

/// A running forward, what it listens on, and what it will leave behind.
fn start(args: &[&str]) -> Result<(Running, Vec<String>, Trace)> {
    let (mut command, trace) = tool(&[&["forward"], args].concat());
    let running = Running::start(&mut command)?;
    let mut listens = Vec::new();
    for _ in args.iter().filter(|arg| **arg == "-L") {
        let line = running.line()?;
        listens.push(line.split_once(" -> ").context(line.clone())?.0.to_owned());
    }
    Ok((running, listens, trace))
}

/// Ends it as Ctrl-C does.
fn end(running: Running, mut trace: Trace) -> Result<Vec<String>> {
    running.signal(Signal::SIGINT)?;
    let ended = running.finish()?;
    ensure!(ended.code == Some(130), "{ended:?}");
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended.stderr)
}

/// Kibibytes of a process in memory, at most and now.
fn memory(pid: i32, which: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)).context("no memory")?;
    Ok(line.trim_matches([' ', ':', '\t', 'k', 'B']).parse()?)
}

pub(crate) fn bytes_go_both_ways_by_ports_and_sockets_and_each_direction_ends_by_itself() -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = |name: &str| place.path().join(name).display().to_string();
    let (there, here, address) = (path("there"), path("here"), serve(answer)?);
    let listener = UnixListener::bind(&there)?;
    thread::spawn(move || listener.incoming().flatten().for_each(answer));
    let rules =
        [format!("0:{address}"), format!("0:{there}"), format!("{here}:{address}"), format!("[::1]:0:{address}")];
    let rules: Vec<&str> = rules.iter().flat_map(|rule| ["-L", rule]).collect();
    let (running, listens, trace) = start(&[&["local1/local2"], &rules[..]].concat())?;
    let sent = bytes(3_000_000);
    for listen in &listens {
        let mut got = Vec::new();
        if listen.starts_with('/') {
            assert_eq!(fs::metadata(listen)?.permissions().mode() & 0o777, 0o600);
            let mut stream = UnixStream::connect(listen)?;
            stream.write_all(&sent)?;
            stream.shutdown(Shutdown::Write)?;
            stream.read_to_end(&mut got)?;
        } else {
            ensure!(listen.starts_with("127.0.0.1:") || listen.starts_with("[::1]:"), "{listen}");
            let mut stream = TcpStream::connect(listen)?;
            stream.write_all(&sent)?;
            stream.shutdown(Shutdown::Write)?;
            stream.read_to_end(&mut got)?;
        }
        ensure!(got == sent, "{} bytes come back by {listen}", got.len());
    }
    let said = end(running, trace)?;
    ensure!(said.is_empty(), "{said:?}");
    ensure!(!Path::new(&here).exists(), "the socket is left");
    Ok(())
}

pub(crate) fn sixty_four_connections_pass_at_once() -> Result<()> {
    const CONNECTIONS: usize = 64;
    let all = Arc::new(Barrier::new(CONNECTIONS));
    let address = serve(move |stream| {
        all.wait();
        answer(stream);
    })?;
    let (running, listens, trace) = start(&["local1/local2", "-L", &format!("0:{address}")])?;
    let sent = Arc::new(bytes(200_000));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (listen, sent) = (listens[0].clone(), Arc::clone(&sent));
            thread::spawn(move || {
                let mut stream = TcpStream::connect(listen)?;
                stream.write_all(&sent)?;
                stream.shutdown(Shutdown::Write)?;
                let mut got = Vec::new();
                stream.read_to_end(&mut got)?;
                Ok::<_, std::io::Error>(got == *sent)
            })
        })
        .collect();
    for client in clients {
        ensure!(client.join().ok().context("a client panicked")??, "other bytes come back");
    }
    end(running, trace).map(drop)
}

/// Sends a byte, and waits for its answer.
fn ping(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])
}

/// A connection that answers.
fn answering(listen: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect(listen).ok()?;
    ping(&stream).ok().map(|()| stream)
}

pub(crate) fn a_thousand_connections_pass_at_once_and_closed_ones_give_their_places_back() -> Result<()> {
    const MOST: usize = 1000;
    const SOME: usize = 300;
    // Both ends of the connections are in this process.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    ensure!(hard > 3 * MOST as u64, Missing(format!("{hard} open files are too few")));
    let address = serve(|mut stream| {
        let mut chunk = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            if stream.write_all(&chunk[..count]).is_err() {
                return;
            }
        }
    })?;
    let (running, listens, trace) = start(&["local1/local2", "-L", &format!("0:{address}")])?;
    let mut open = Vec::new();
    for nth in 0..MOST {
        let stream = TcpStream::connect(&listens[0])?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ping(&stream).with_context(|| format!("connection {nth} is not served"))?;
        open.push(stream);
    }
    let expect_no_more = || {
        let stream = TcpStream::connect(&listens[0])?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let read = (&stream).read(&mut [0]);
        ensure!(read.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{read:?}");
        Ok(())
    };
    expect_no_more()?;
    expect_no_more()?;
    open.truncate(MOST - SOME);
    while open.len() < MOST {
        let nth = open.len();
        let next = wait_for(PATIENCE, || answering(&listens[0]));
        open.push(next.with_context(|| format!("connection {nth} has no place"))?);
    }
    expect_no_more()?;
    for (nth, stream) in open.iter().enumerate() {
        ping(stream).with_context(|| format!("connection {nth} is lost"))?;
    }
    let said = end(running, trace)?;
    let note = format!("{} -> {address}: 1000 connections are open, so another one was refused", listens[0]);
    ensure!((1..=SOME).contains(&said.len()) && said.iter().all(|line| line.contains(&note)), "{said:?}");
    Ok(())
}

pub(crate) fn a_forward_that_ends_resets_its_connections_at_both_ends() -> Result<()> {
    let hop = |pid: u32| {
        let all = Process::all();
        let is_context = |process: &&Process| process.argv.first().is_some_and(|argv0| argv0.starts_with("offshoot:"));
        let hop = below(pid.try_into()?, &all).into_iter().find(is_context);
        hop.context("no hop")?.signal(Signal::SIGKILL)?;
        Ok::<_, anyhow::Error>(())
    };
    let ways = [
        (Some(Signal::SIGINT), Some(130)),
        (Some(Signal::SIGTERM), Some(143)),
        (Some(Signal::SIGHUP), Some(129)),
        (Some(Signal::SIGKILL), None),
        // Its connection to the host is lost.
        (None, Some(4)),
    ];
    for (signal, code) in ways {
        let (to, ends) = mpsc::channel();
        let address = serve(move |mut stream| {
            let mut chunk = [0; 64];
            let end = loop {
                match stream.read(&mut chunk).and_then(|count| stream.write_all(&chunk[..count]).map(|()| count)) {
                    Ok(1..) => {}
                    end => break end.map_err(|error| error.kind()),
                }
            };
            let _ = to.send(end);
        })?;
        let (running, listens, mut trace) = start(&["local1/local2", "-L", &format!("0:{address}")])?;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let stream = TcpStream::connect(&listens[0])?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ping(&stream)?;
            clients.push(stream);
        }
        // The second one has ended its own direction.
        clients[1].shutdown(Shutdown::Write)?;
        assert_eq!(ends.recv_timeout(PATIENCE)?, Ok(0));
        match signal {
            Some(signal) => running.signal(signal)?,
            None => hop(running.pid)?,
        }
        for mut client in [&clients[0], &clients[2]] {
            let read = client.read(&mut [0]);
            let is_reset = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
            ensure!(is_reset, "{signal:?}: the client gets {read:?}");
            assert_eq!(ends.recv_timeout(PATIENCE)?, Err(ErrorKind::ConnectionReset), "{signal:?}: at the far end");
        }
        let ended = running.finish()?;
        assert_eq!(ended.code, code, "{signal:?}: {ended:?}");
        trace.expect_nothing_left(A_WHILE)?;
    }
    Ok(())
}

pub(crate) fn a_target_that_refuses_is_told_once_and_the_others_go_on() -> Result<()> {
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let address = serve(answer)?;
    let (running, listens, trace) = start(&["local1", "-L", &format!("0:{closed}"), "-L", &format!("0:{address}")])?;
    for _ in 0..3 {
        // It looks like a connection that broke, and not like an answer without bytes.
        let read = TcpStream::connect(&listens[0])?.read(&mut [0]);
        ensure!(read.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{read:?}");
    }
    let mut stream = TcpStream::connect(&listens[1])?;
    stream.write_all(b"hi")?;
    stream.shutdown(Shutdown::Write)?;
    let mut got = String::new();
    stream.read_to_string(&mut got)?;
    assert_eq!(got, "hi");
    let said = end(running, trace)?;
    let wanted = format!("offshoot: {} -> {closed}: cannot connect to {closed}: Connection refused", listens[0]);
    ensure!(said.len() == 1 && said[0].starts_with(&wanted), "{said:?}");
    Ok(())
}

pub(crate) fn a_lost_connection_ends_the_forward_and_what_passed_through_it() -> Result<()> {
    let address = serve(answer)?;
    let (running, listens, mut trace) = start(&["local1/local2", "-L", &format!("0:{address}")])?;
    let mut stream = TcpStream::connect(&listens[0])?;
    stream.write_all(b"hi")?;
    let all = Process::all();
    let is_context = |process: &&Process| process.argv.first().is_some_and(|argv0| argv0.starts_with("offshoot:"));
    let hop = below(running.pid.try_into()?, &all).into_iter().find(is_context);
    hop.context("no hop")?.signal(Signal::SIGKILL)?;
    let read = stream.read(&mut [0]);
    ensure!(read.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{read:?}");
    let ended = running.finish()?;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    ensure!(ended.stderr.concat().contains("the connection to local1/local2 was lost"), "{ended:?}");
    trace.expect_nothing_left(A_WHILE)?;
    Ok(())
}

pub(crate) fn much_data_takes_little_memory_even_if_its_reader_is_slow() -> Result<()> {
    let address = serve(|mut stream| {
        let chunk = vec![7; 1 << 16];
        let mut left = MUCH;
        while left > 0 && stream.write_all(&chunk).is_ok() {
            left -= chunk.len() as u64;
        }
    })?;
    let (running, listens, trace) = start(&["local1/local2", "-L", &format!("0:{address}")])?;
    let all = Process::all();
    let pids: Vec<i32> = below(running.pid.try_into()?, &all).iter().map(|process| process.pid).collect();
    let pids = [vec![running.pid.try_into()?], pids].concat();
    let before = pids.iter().map(|pid| memory(*pid, "VmRSS")).collect::<Result<Vec<_>>>()?;
    let _unread = TcpStream::connect(&listens[0])?;
    let mut stream = TcpStream::connect(&listens[0])?;
    let (begun, mut total, mut chunk) = (Instant::now(), 0, vec![0; 1 << 16]);
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        total += count as u64;
    }
    assert_eq!(total, MUCH);
    let rate = total as f64 / begun.elapsed().as_secs_f64() / 1e6;
    for (pid, before) in pids.iter().zip(before) {
        let grown = memory(*pid, "VmHWM")?.saturating_sub(before);
        eprintln!("forward: process {pid} needs {grown} KiB for it, at {rate:.0} MB/s");
        ensure!(grown < LITTLE, "process {pid} needs {grown} KiB for it");
    }
    end(running, trace).map(drop)
}

pub(crate) fn what_cannot_be_listened_on_is_told_before_anything_is_connected() -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = |name: &str| place.path().join(name).display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let (file, live, stale) = (path("file"), path("live"), path("stale"));
    fs::write(&file, "kept")?;
    let _live = UnixListener::bind(&live)?;
    drop(UnixListener::bind(&stale)?);
    for (rule, code, says) in [
        (format!("{port}:a:1"), 70, "choose another port, or 0 for any free one"),
        (format!("{file}:a:1"), 70, "a file that is no socket is there"),
        (format!("{live}:a:1"), 70, "another program listens on it"),
        (path("no/such/directory") + ":a:1", 70, "No such file or directory"),
        ("8080:a".into(), 64, "[BIND:]PORT:HOST:PORT"),
    ] {
        // Nothing is connected, so it does not matter that the host is nobody's.
        let ended = run(&mut tool(&["forward", "nosuchhost.invalid", "-L", &rule]).0)?;
        ensure!(ended.code == Some(code) && ended.stderr.concat().contains(says), "{rule}: {ended:?}");
    }
    assert_eq!(fs::read(&file)?, b"kept");
    ensure!(UnixStream::connect(&live).is_ok(), "the socket of another program is gone");
    let ended = run(&mut tool(&["forward", "local[1-2]", "-L", "0:a:1"]).0)?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("names 2 hosts"), "{ended:?}");
    // What a program that was killed has left is replaced, also if anybody holds a lock on the directory.
    let directory = fs::File::open(place.path())?;
    let _locked = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let (running, _, trace) = start(&["local1", "-L", &format!("{stale}:{}", serve(answer)?)])?;
    ensure!(UnixStream::connect(&stale).is_ok(), "nobody listens");
    end(running, trace)?;
    ensure!(!Path::new(&stale).exists(), "the socket is left");
    Ok(())
}

pub(crate) fn rsh_passes_its_streams_to_a_port() -> Result<()> {
    let address = serve(answer)?;
    let sent = bytes(3_000_000);
    for way in [&["local1/local2"][..], &["--via", "local1", "local2"]] {
        let (mut command, mut trace) = tool(&[&["rsh", "-W", &address], way].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (mut to, bytes) = (child.stdin.take().context("stdin")?, sent.clone());
        let writer = thread::spawn(move || to.write_all(&bytes));
        let output = child.wait_with_output()?;
        ensure!(writer.join().is_ok_and(|written| written.is_ok()), "the input is not taken");
        ensure!(output.status.success() && output.stdout == sent, "{} bytes: {}", output.stdout.len(), output.status);
        trace.expect_nothing_left(AT_ONCE)?;
    }
    // What is cut off is no end of the data.
    let (to, ends) = mpsc::channel();
    let cut = serve(move |mut stream| {
        for mut chunk in [vec![0; 4], vec![0]] {
            let _ = to.send(stream.read_exact(&mut chunk).map_err(|error| error.kind()));
        }
    })?;
    let (mut command, mut trace) = tool(&["rsh", "-W", &cut, "local1/local2"]);
    let mut running = Running::start(&mut command)?;
    running.stdin().context("stdin")?.write_all(b"four")?;
    assert_eq!(ends.recv_timeout(PATIENCE)?, Ok(()));
    running.signal(Signal::SIGTERM)?;
    assert_eq!(ends.recv_timeout(PATIENCE)?, Err(ErrorKind::ConnectionReset));
    assert_eq!(running.finish()?.code, Some(143));
    trace.expect_nothing_left(A_WHILE)?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    for (args, says) in [
        (&["-W", &closed, "local1"][..], "Connection refused"),
        (&["-W", "localhost", "local1"], "HOST:PORT"),
        (&["-W", &closed, "local1", "true"], "-W"),
    ] {
        let ended = run(&mut tool(&[&["rsh"], args].concat()).0)?;
        ensure!(ended.code == Some(255) && ended.stderr.concat().contains(says), "{args:?}: {ended:?}");
    }
    Ok(())
}
