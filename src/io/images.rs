//! Images through the tree: own ones, carried ones, and those that come from
//! upstream, each over each link at most once.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Io;
use crate::bundle::Bundle;
use crate::image::{self, Compression, Image, Packed};
use crate::message::{ContextId, Handle, Message};
use crate::payload::{self, Blob};
use crate::routing::LinkId;

/// Machines that a context keeps images for, or keeps asking about.
const MAX_MACHINES: usize = 16;
/// Bytes of the words of `uname -sm`.
const MAX_WORDS: usize = 128;

/// A machine by the words of `uname -sm`.
type Machine = (String, String);

/// Images for other machines than this one.
#[derive(Default)]
pub(super) struct Images {
    by_machine: HashMap<Machine, Carried>,
}

enum Carried {
    /// Asked for upstream.
    Awaited(Vec<oneshot::Sender<Result<Arc<Image>, Missing>>>),
    Here(Arc<Image>),
}

/// Why there is no image for a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Missing {
    /// These are the images that there are.
    Unknown(Vec<String>),
    /// It is there and cannot be had.
    Broken(String),
}

/// The payload of `LOAD_IMAGE`.
#[derive(Serialize, Deserialize)]
struct Load {
    machine: Machine,
    result: Result<(Blob, u64), Missing>,
}

impl Io {
    /// The image to send to a machine.
    pub(crate) async fn image_for(self: &Rc<Self>, system: &str, machine: &str) -> Result<Arc<Image>, Missing> {
        let words = (system.to_owned(), machine.to_owned());
        let carried = tokio::task::spawn_blocking(move || carried(&words)).await;
        match carried {
            Ok(Ok(Some(image))) => return Ok(image),
            Ok(Ok(None)) => {}
            Ok(Err(why)) => return Err(Missing::Broken(why)),
            Err(error) => return Err(Missing::Broken(error.to_string())),
        }
        let Some(parent) = self.shared.parent() else {
            return Err(Missing::Unknown(known()));
        };
        let words = (system.to_owned(), machine.to_owned());
        if words.0.len() + words.1.len() > MAX_WORDS {
            return Err(Missing::Unknown(known()));
        }
        let (tell, told) = oneshot::channel();
        let ask = {
            let images = &mut self.state.borrow_mut().images.by_machine;
            if images.len() >= MAX_MACHINES && !images.contains_key(&words) {
                // What is asked for again comes again.
                images.retain(|_, carried| matches!(carried, Carried::Awaited(_)));
            }
            match images.get_mut(&words) {
                Some(Carried::Here(image)) => return Ok(Arc::clone(image)),
                Some(Carried::Awaited(waiting)) => {
                    waiting.push(tell);
                    false
                }
                None => {
                    images.insert(words.clone(), Carried::Awaited(vec![tell]));
                    true
                }
            }
        };
        if ask && let Ok(data) = payload::encode(&words) {
            self.send(Message::new(parent, Handle::GET_IMAGE, data));
        }
        told.await.unwrap_or_else(|_| Err(Missing::Broken("the parent has gone".into())))
    }

    /// A child asks for an image.
    pub(super) fn on_get_image(self: &Rc<Self>, message: &Message, _: Option<LinkId>) {
        let Ok((system, machine)) = payload::decode::<Machine>(&message.data, None) else {
            return;
        };
        let (io, child) = (Rc::clone(self), message.src);
        self.tasks.spawn_local(async move {
            let packed = match io.image_for(&system, &machine).await {
                Ok(image) => match tokio::task::spawn_blocking(move || image.pack(Compression::Zstd)).await {
                    Ok(Ok(packed)) => Ok(packed),
                    Ok(Err(error)) => Err(Missing::Broken(error.to_string())),
                    Err(error) => Err(Missing::Broken(error.to_string())),
                },
                Err(missing) => Err(missing),
            };
            io.send_image(child, (system, machine), packed);
        });
    }

    fn send_image(self: &Rc<Self>, child: ContextId, machine: Machine, packed: Result<Packed, Missing>) {
        let result = packed.map(|packed| (Blob(packed.bytes.to_vec()), packed.unpacked));
        if let Ok(data) = payload::encode(&Load { machine, result }) {
            self.send(Message::new(child, Handle::LOAD_IMAGE, data));
        }
    }

    /// The parent gives what was asked for.
    pub(super) fn on_load_image(self: &Rc<Self>, message: &Message, _: Option<LinkId>) {
        let Ok(Load { machine, result }) = payload::decode(&message.data, None) else {
            return;
        };
        let result = result.map(|(Blob(bytes), unpacked)| Arc::new(Image::from_zstd(Bytes::from(bytes), unpacked)));
        let images = &mut self.state.borrow_mut().images.by_machine;
        // Only what was asked for is kept; what is missing may be asked for
        // again.
        let Some(Carried::Awaited(waiting)) = images.remove(&machine) else {
            return;
        };
        if let Ok(image) = &result {
            images.insert(machine, Carried::Here(Arc::clone(image)));
        }
        for tell in waiting {
            let _ = tell.send(result.clone());
        }
    }
}

/// The image that this process carries or is itself, if it fits. Blocks.
fn carried((system, machine): &Machine) -> Result<Option<Arc<Image>>, String> {
    let bundle = Bundle::own().map_err(|error| error.to_string())?;
    if let Some(image) = bundle.find(system, machine).map_err(|error| error.to_string())? {
        return Ok(Some(image));
    }
    if image::runs_on(image::own_machine(), system, machine) { Image::own().map(Some) } else { Ok(None) }
}

/// The images that this process can give by itself.
fn known() -> Vec<String> {
    let carried = Bundle::own().map(Bundle::entries).unwrap_or_default();
    let (system, processor) = image::own_machine();
    let mut known: Vec<String> = carried.iter().map(|entry| entry.triple.clone()).collect();
    if !carried.iter().any(|entry| (entry.system.as_str(), entry.processor.as_str()) == (system, processor)) {
        known.push(format!("{system} {processor}"));
    }
    known
}
