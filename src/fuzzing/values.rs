//! Every type of which another process sends values.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builtin::facts::HostFacts;
use crate::builtin::file::{self, tree::message as tree};
use crate::builtin::net;
use crate::builtin::process::run_process::{CommandLine, Outlets};
use crate::builtin::process::{Event, Exit, WindowSize};
#[cfg(feature = "files")]
use crate::builtin::service::files;
use crate::cli::kept;
use crate::connect::handshake::{Hello, Welcome};
use crate::connect::methods::voucher;
use crate::connect::methods::{Connected, Proxied, Spec};
use crate::engine::image_store::Machine;
use crate::engine::io::Load;
use crate::engine::log::{Levels, Record};
use crate::engine::shared::{self, Settings, Shared};
use crate::engine::stats::Stats;
use crate::fuzzing::checks;
use crate::image::bundle;
use crate::wire::codec::{self, Blob, Origin};
use crate::wire::error::{CallError, Error};
use crate::wire::message::ContextId;

/// The types, in an order that does not change: the first byte of the files in the corpus is a number in this list.
const TYPES: &[fn(&[u8])] = &[
    value::<Error>,
    value::<CallError>,
    value::<Record>,
    value::<Stats>,
    value::<Levels>,
    value::<Machine>,
    value::<Load>,
    value::<Hello>,
    value::<Welcome>,
    value::<Vec<bundle::Entry>>,
    value::<Spec>,
    value::<Connected>,
    value::<Proxied>,
    value::<voucher::Question>,
    value::<voucher::Answer>,
    value::<kept::Question>,
    value::<Vec<kept::Found>>,
    value::<CommandLine>,
    value::<Outlets>,
    value::<Event>,
    value::<Exit>,
    value::<WindowSize>,
    value::<HostFacts>,
    value::<file::Piece>,
    value::<net::Target>,
    value::<net::Reply>,
    value::<tree::ToSink>,
    value::<tree::ToSource>,
    value::<tree::Note>,
    value::<tree::Options>,
    value::<tree::Destination>,
    value::<Result<tree::Outcome, tree::Stop>>,
    value::<Vec<(String, Option<Vec<()>>, char, f64, i128)>>,
    value::<Vec<Blob>>,
    #[cfg(feature = "files")]
    value::<files::FromHost>,
    #[cfg(feature = "files")]
    value::<files::Answer>,
];

/// The first byte chooses the type. What is decoded is encoded in bytes that are decoded to the same, and that are not many
/// more.
pub(super) fn values(bytes: &[u8]) {
    if let Some((kind, encoded)) = bytes.split_first() {
        TYPES[usize::from(*kind) % TYPES.len()](encoded);
    }
}

fn value<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let origin = origin();
    let value: T = match codec::decode(bytes, Some(origin.clone())) {
        Ok(value) => value,
        Err(why) => return checks::tells(&why),
    };
    let encoded = codec::encode(&value).unwrap_or_else(|why| panic!("what was decoded cannot be encoded: {why}"));
    assert!(encoded.len() <= 2 * bytes.len() + 8, "{} bytes became {}", bytes.len(), encoded.len());
    let again: T =
        codec::decode(&encoded, Some(origin)).unwrap_or_else(|why| panic!("it cannot be decoded again: {why}"));
    assert_eq!(codec::encode(&again).as_ref(), Ok(&encoded));
}

/// A router that contexts and senders in the values belong to. It does not run.
fn origin() -> Origin {
    let settings = Settings {
        max_message_size: 1 << 20,
        unidirectional: false,
        allowed: None,
        levels: shared::Levels::Copied(Levels::new(3)),
        debug: false,
        profiling: false,
    };
    let (shared, _) = Shared::new(ContextId(7), "a".into(), vec![ContextId(0)], settings);
    Origin::at(&(shared as Arc<Shared>), ContextId(8), ContextId(8))
}
