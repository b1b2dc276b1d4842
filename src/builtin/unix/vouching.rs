//! What the program that listens answers about the contexts below it.

use std::rc::Rc;
use std::sync::Arc;

use crate::api::context::Context;
use crate::api::router::Router;
use crate::connect::methods::voucher::{Answer, Question, Voucher};
use crate::engine::io::Io;
use crate::engine::shared::{Request, Shared};
use crate::wire::error::Error;
use crate::wire::message::{Handle, Message};

/// Answers questions at a handle of `router` from now on. Only programs that have joined may ask.
pub(super) fn serve(router: &Router) -> Result<Handle, Error> {
    let shared = Arc::clone(router.shared());
    let handler = router.add_handler(move |message: Message| {
        let Ok(question) = message.decode::<Question>() else { return };
        shared.request(Request::Do(Box::new(move |io: &Rc<Io>| {
            // A program that has gone needs no answer.
            let _ = message.reply(&answer(io, question));
        })));
    });
    handler.policy(crate::routing::policy::is_immediate_child).build()
}

fn answer(io: &Io, question: Question) -> Answer {
    io.with_routing(|routing| match question {
        Question::Clock => Ok((routing.clock(), String::new())),
        Question::Claim { child, via, since } => {
            let name = routing.claim(child, via, since).map_err(str::to_owned)?;
            Ok((routing.clock(), name))
        }
    })
}

/// Lets the connects of a program that has joined ask at `handle` of the program that listens.
pub(super) fn ask_at(shared: &Shared, handle: Handle) {
    let voucher = Voucher {
        handle,
        ask: |shared, handle, question| {
            let listener = shared.parent().map(|parent| Context::known(Arc::clone(shared), parent));
            Box::pin(async move {
                let listener = listener.ok_or("the program that was joined has gone")?;
                let question = Message::encoded(&question).map_err(|error| error.to_string())?;
                let answer = listener.send_await::<Answer>(question.to_handle(handle)).await;
                answer.unwrap_or_else(|error| Err(format!("which cannot be checked: {error}")))
            })
        },
    };
    let _ = shared.voucher.set(Box::new(voucher));
}
