//! The busiest processes of many machines in one table, refreshed every two seconds, with the first host, until Ctrl-C.
//!
//!     cargo run --example process_table                     # two children on this machine, three tables
//!     cargo run --example process_table -- web1 web2/sudo   # over ssh

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::collections::BTreeMap;
use std::time::Duration;

use offshoot::connect::HostPath;
use offshoot::{Error, Receiver, Router, Select, Sender, export};

/// Sends the name of its host and the processes there, `times` times. Each process is a line that begins with its share
/// of a processor in per cent.
async fn watch(to: Sender<(String, String)>, host: String, times: u32, pause: u64) -> Result<(String, String), Error> {
    let table = || {
        let output = std::process::Command::new("ps").args(["-A", "-o", "pcpu=,pid=,user=,rss=,comm="]).output()?;
        Ok::<_, Error>((host.clone(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    for _ in 1..times {
        to.send(table()?).await?; // waits while the reader is behind
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    table()
}
export!(watch);

async fn app(router: Router) -> Result<(), Error> {
    let (hosts, here): (Vec<_>, _) = (std::env::args().skip(1).collect(), ["local1".to_owned(), "local2".to_owned()]);
    let (hosts, times, pause) = if hosts.is_empty() { (here.into(), 3, 100) } else { (hosts, u32::MAX, 2000) };
    // The calls are members, too: the error of a host that is lost ends the program.
    let (tables, calls, all) = (Receiver::new(&router), Select::new(), Select::new().oneshot(false));
    for host in hosts {
        let context = router.connect(host.parse::<HostPath>()?).await?;
        calls.add(context.call(watch, (tables.sender(), host, times, pause)))?;
    }
    all.add(tables)?;
    all.add(&calls)?;
    let mut latest = BTreeMap::new();
    while !calls.is_empty() {
        let (_, (host, processes)) = all.recv().await?;
        latest.insert(host.clone(), processes);
        if latest.keys().next() == Some(&host) {
            let number = |text: Option<&str>| text.and_then(|text| text.parse::<f32>().ok()).unwrap_or(0.0);
            let lines = latest.iter().flat_map(|(host, text)| text.lines().map(move |line| (host, line)));
            let mut lines: Vec<_> = lines.collect();
            lines.sort_by_key(|(_, line)| (number(line.split_whitespace().next()) * -10.0) as i32);
            println!("\nHOST       %CPU     PID USER       RSS COMMAND");
            lines.iter().take(20).for_each(|(host, line)| println!("{host:<10} {line}"));
        }
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
