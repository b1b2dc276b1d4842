//! Messages to fixed handles, without calls and channels. Any context may read the counter, and only contexts
//! above may set it.
//!
//!     cargo run --example own_protocol

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use offshoot::{Error, Handle, Message, Router, export, policy};

const GET: Handle = Handle(5000);
const SET: Handle = Handle(5001);

/// Registers the handlers in this context. They live as long as the context.
fn serve(router: &Router) -> Result<(), Error> {
    let counter = Arc::new(AtomicU32::new(0));
    let value = Arc::clone(&counter);
    let answer = |message: Message, value: u32| {
        // This runs on the I/O thread, so it must not block.
        if let Err(error) = message.reply(&value) {
            tracing::warn!("no answer: {error}");
        }
    };
    router.add_handler(move |message| answer(message, value.load(Ordering::Relaxed))).handle(GET).build()?;
    let set = move |message: Message| {
        if let Ok(value) = message.decode::<u32>() {
            answer(message, counter.swap(value, Ordering::Relaxed));
        }
    };
    router.add_handler(set).handle(SET).policy(policy::has_parent_authority).build()?;
    Ok(())
}

/// Tries to set the counter of a sibling, which the policy of the sibling refuses. Returns whether it was
/// refused.
async fn intrude(router: &Router, sibling: offshoot::ContextId) -> Result<bool, Error> {
    let sibling = router.context_by_id(sibling);
    assert_eq!(sibling.send_await::<u32>(Message::raw(&b""[..]).to_handle(GET)).await?, 41);
    let answer = sibling.send_await::<u32>(Message::encoded(&13u32)?.to_handle(SET)).await;
    Ok(answer.is_err_and(|error| error.is_refused()))
}
export!(serve, intrude);

async fn app(router: Router) -> Result<(), Error> {
    let (server, other) = (router.local().connect().await?, router.local().connect().await?);
    server.call(serve, ()).await?;
    let before: u32 = server.send_await(Message::encoded(&41u32)?.to_handle(SET)).await?;
    println!("it was {before}; a sibling was refused: {}", other.call(intrude, (server.id(),)).await?);
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
