//! The spellings that programs outside of this repository rely on, each as they write it.

use offshoot::{Context, ContextId, Econtext, Error, Sender, export};

use super::{Tree, block_on};

async fn count(from: u32, to: u32, tx: Sender<u32>) -> Result<String, Error> {
    for number in from..to {
        tx.send(number).await?;
    }
    Ok(format!("up to {to}"))
}

/// An error of the system becomes one of ours by `?`.
fn read(path: String) -> Result<String, Error> {
    Ok(std::fs::read_to_string(path)?)
}

fn address() -> [u8; 4] {
    [127, 0, 0, 1]
}

fn who(econtext: &Econtext) -> ContextId {
    econtext.caller().id()
}

fn leave() {
    std::process::abort()
}
export!(count, read, address, who, leave);

#[test]
fn every_spelling_of_calls_and_streams_works() {
    let tree = Tree::new();
    let (router, ctx) = (&tree.0, tree.child());
    block_on(async {
        let mut stream = ctx.stream(count, |tx| (10, 99, tx));
        let mut items = Vec::new();
        while let Some(item) = stream.next().await {
            let item: Result<u32, Error> = item;
            items.push(item.unwrap());
        }
        assert_eq!(items, (10..99).collect::<Vec<_>>());
        let result: Result<String, Error> = stream.result().await;
        assert_eq!(result.unwrap(), "up to 99");
        assert_eq!(ctx.call(address, ()).await.unwrap(), [127, 0, 0, 1]);
        assert!(matches!(ctx.call(read, ("/nonexistent".into(),)).await, Err(Error::Call(_))));
        let error: Error = std::io::Error::other("worn out").into();
        assert!(matches!(error, Error::Io(_)));
        let error = router.context_by_id(ContextId(4711)).call(address, ()).await.unwrap_err();
        assert!(error.is_disconnected());
        let Error::Channel(channel_error) = error else { panic!("{error:?}") };
        assert!(format!("{:?}", channel_error.kind) == "NoRoute");
        let econtext = Econtext::new(router);
        assert_eq!((who(&econtext.clone()), econtext.caller()), (ContextId::MASTER, router.myself()));
    });
}

#[test]
fn every_spelling_of_commands_files_connects_and_ends_works() {
    let tree = Tree::new();
    let router = &tree.0;
    block_on(async {
        let ctx = router.local().boxed().connect().await.unwrap();
        let children: Vec<Context> = router.children();
        assert_eq!(children, std::slice::from_ref(&ctx));
        let output = ctx.command("sh").args(["-c", "cat; echo err >&2; exit 7"]).stdin("hello").output().await.unwrap();
        assert_eq!((output.exit.code, &output.stdout[..], &output.stderr[..]), (Some(7), &b"hello"[..], &b"err\n"[..]));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        ctx.write_file(&path, b"some").await.unwrap();
        ctx.write_file(&path, vec![1, 2, 3]).await.unwrap();
        let bytes: Vec<u8> = ctx.read_file(&path).await.unwrap();
        assert_eq!(bytes, [1, 2, 3]);
        let far = router.connect("local/local".parse::<offshoot::connect::HostPath>().unwrap()).await.unwrap();
        assert_eq!(far.call(who, ()).await.unwrap(), ContextId::MASTER);
        assert!(!ctx.is_closed());
        let closed = ctx.closed();
        assert!(ctx.call(leave, ()).await.unwrap_err().is_disconnected());
        closed.await;
        ctx.closed().await;
        assert!(ctx.is_closed());
    });
}
