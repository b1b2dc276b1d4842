//! Connects as values: awaited, boxed, along paths, with a start function.

use std::time::Duration;

use offshoot::connect::{AnyMethod, Connect, HostPath, Method, Passes, SetnsKind};
use offshoot::error::ConnectErrorKind;
use offshoot::{Context, Error, export};

use super::{Tree, block_on, eventually, is_alive, pid};

fn move_to_root() -> std::io::Result<()> {
    std::env::set_current_dir("/")
}
fn directory() -> std::io::Result<std::path::PathBuf> {
    std::env::current_dir()
}
export!(move_to_root, directory);

/// The same for all methods.
async fn start<M: Method>(connect: Connect<M>, name: &str) -> Result<Context, Error> {
    connect.name(name).connect_timeout(Duration::from_secs(20)).await
}

#[test]
fn connects_of_two_methods_are_awaited_from_one_list() {
    let tree = Tree::new();
    let connects: Vec<Connect<AnyMethod>> = vec![tree.0.local().boxed(), tree.0.fork().name("second").boxed()];
    block_on(async {
        let mut names = Vec::new();
        for connect in connects {
            names.push(connect.await.unwrap().name().to_owned());
        }
        assert!(names[0].starts_with("local.") && names[1] == "second", "{names:?}");
        assert_eq!(start(tree.0.local(), "one").await.unwrap().name(), "one");
        assert_eq!(start(tree.0.fork().boxed(), "two").await.unwrap().name(), "two");
    });
}

#[test]
fn a_connect_along_a_path_goes_through_each_hop() {
    let tree = Tree::new();
    block_on(async {
        let path: HostPath = "local:first/local:second".parse().unwrap();
        let child = tree.0.connect(path.clone()).on_start(move_to_root).await.unwrap();
        assert_eq!(child.name(), "local.first.local.second");
        assert_eq!(child.call(directory, ()).await.unwrap(), std::path::Path::new("/"));
        let behind = tree.0.connect(path).via(&child).name("last").await.unwrap();
        assert_eq!(behind.name(), "local.first.local.second.local.first.last");
        let error = tree.0.connect("local/local".parse().unwrap()).via(&tree.0.context_by_id(child.id())).await;
        assert!(error.is_ok());
    });
}

fn via_of(context: Context) -> Option<Context> {
    context.via()
}
export!(via_of);

#[test]
fn a_context_knows_its_router_and_through_which_context_this_process_has_started_it() {
    let tree = Tree::new();
    let child = tree.child();
    let below = tree.behind(&child);
    assert_eq!((child.via(), below.via()), (None, Some(child.clone())));
    // By its id, too.
    let same = tree.0.context_by_id(below.id());
    assert_eq!(same.via().map(|via| via.name().to_owned()), Some(child.name().to_owned()));
    let path: HostPath = "local:first/local:second".parse().unwrap();
    let last = block_on(tree.0.connect(path).via(&child).connect()).unwrap();
    let first = last.via().unwrap();
    assert!(first.name().ends_with(".local.first") && first.via() == Some(child.clone()), "{first}");
    // Another process has not started it.
    assert_eq!(child.blocking_call(via_of, (below.clone(),)).unwrap(), None);
    below.blocking_shutdown();
    assert_eq!(below.via(), None, "its id may belong to another one");

    let weak = child.router();
    let again = weak.upgrade().unwrap();
    assert_eq!(again.myself(), tree.0.myself());
    assert!(again.children().contains(&child));
    drop(again);
    drop(tree);
    assert!(weak.upgrade().is_none() && child.router().upgrade().is_none());
}

#[test]
fn the_hops_of_a_path_end_if_it_leads_nowhere() {
    let tree = Tree::new();
    let hop = tree.child();
    let watched = || block_on(tree.0.stats()).unwrap().links;
    assert_eq!(watched(), 1);
    let path: HostPath = "local/local/sudo:nobody".parse().unwrap();
    let error = block_on(tree.0.connect(path.clone()).exec_prefix(["/nonexistent"]).binary("/nonexistent").await_it());
    assert!(matches!(error, Err(Error::Connect(_))), "{error:?}");
    eventually("the end of the hops", || watched() == 1);
    let error = block_on(tree.0.connect(path).connect_timeout(Duration::from_millis(1)).await_it()).unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");
    eventually("the end of the hops", || watched() == 1);
    assert!(is_alive(hop.blocking_call(pid, ()).unwrap()));
}

trait AwaitIt {
    async fn await_it(self) -> Result<Context, Error>;
}
impl<M: Method> AwaitIt for Connect<M> {
    async fn await_it(self) -> Result<Context, Error> {
        self.await
    }
}

#[test]
fn every_method_takes_a_start_function() {
    let tree = Tree::new();
    let hop = tree.child();
    block_on(async {
        for connect in [tree.0.local().boxed(), tree.0.fork().via(&hop).boxed()] {
            let child = connect.on_start(move_to_root).await.unwrap();
            assert_eq!(child.call(directory, ()).await.unwrap(), std::path::Path::new("/"));
        }
    });
}

#[test]
fn a_kind_of_container_has_its_name() {
    assert_eq!(SetnsKind::Machinectl.to_string(), "machinectl");
    let error = "setns:jail:x".parse::<HostPath>().unwrap_err();
    let error = Error::from(error).to_string();
    assert!(error.contains("there are docker, podman, lxc, lxd, incus, machinectl"), "{error}");
}

#[test]
fn a_launcher_of_the_users_own_gets_its_words_and_explains_its_end() {
    let tree = Tree::new();
    let hop = tree.child();
    let tell = r#"printf '%s %s\n' "$0" "$1" >&2; echo 'no such box' >&2; exit 4"#;
    for via in [None, Some(&hop)] {
        let words = tree.0.launcher(["sh", "-c", tell, "{user}-{target}", "{command}"]).target("a").username("amy");
        let line = tree.0.launcher(["sh", "-c", tell, "line", "<{command}"]).passes(Passes::String).called("dial");
        for (connect, told, hop) in [(words, "amy-a sh", "sh.a"), (line, "line <sh -c ", "dial")] {
            let connect = connect.text("No such BOX", ConnectErrorKind::HostKey, "look again");
            let connect = if let Some(via) = via { connect.via(via) } else { connect };
            let Err(Error::Connect(error)) = block_on(connect.connect()) else { panic!("it starts") };
            assert_eq!((error.kind, error.advice.as_str()), (ConnectErrorKind::HostKey, "look again"), "{error}");
            assert!(error.hop.ends_with(hop) && error.text.contains("no such box"), "{error}");
            assert!(error.tail.iter().any(|line| line.starts_with(told)), "{:?}", error.tail);
        }
    }
}
