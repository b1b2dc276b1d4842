//! What the children run.

use std::any::type_name_of_val;

use crate::api::econtext::Econtext;
use crate::api::sender::Sender;
use crate::wire::codec::Blob;
use crate::wire::error::Error;

/// Answers with what it was given.
pub(super) async fn echoed(data: Blob) -> Blob {
    data
}

/// Runs until it is cancelled.
pub(super) async fn held(econtext: &Econtext) {
    econtext.cancelled().await;
}

/// Sends the numbers below `count`, each in as many bytes.
pub(super) async fn poured(count: u32, size: u32, to: Sender<(u32, Blob)>) -> Result<u32, Error> {
    for number in 0..count {
        to.send((number, Blob(vec![7; size as usize]))).await?;
    }
    Ok(count)
}

pub(super) async fn failed() -> Result<(), String> {
    Err("it has failed".into())
}
crate::export!(io echoed, held, poured, failed);

/// Runs on a thread of its own.
pub(super) fn added(a: u32, b: u32) -> u32 {
    a.wrapping_add(b)
}
crate::export!(concurrent added);

/// The names of these functions in the table.
pub(super) fn names() -> Vec<String> {
    let names = [
        type_name_of_val(&echoed),
        type_name_of_val(&held),
        type_name_of_val(&poured),
        type_name_of_val(&failed),
        type_name_of_val(&added),
    ];
    names.map(str::to_owned).into()
}
