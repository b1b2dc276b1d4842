//! The exchange of images in the tree: the own image of this process, images that it carries, and images from
//! the parent. Each image goes over each link at most once. The receiver checks it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::engine::image_store::{ImageStore, MAX_MACHINES, Machine, Missing, Told, Way};
use crate::engine::io::Io;
use crate::image::bundle::Bundle;
use crate::image::executable::{self, Compression, Image, Packed};
use crate::routing::table::LinkId;
use crate::sys::blocking::on_other_thread;
use crate::wire::codec::{self, Blob};
use crate::wire::message::{ContextId, Handle, Message};

/// The part of [`MAX_MACHINES`] that is reserved for children of this context.
const FOR_OWN: usize = 4;
/// Maximum size of the words that name a machine, in bytes.
const MAX_WORDS: usize = 128;
/// The interval for checking whether a full link has room.
const CONGESTED: Duration = Duration::from_millis(20);

/// The payload of `LOAD_IMAGE`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Load {
    machine: Machine,
    result: Result<Sent, Missing>,
}

/// An image as it travels through the tree.
#[derive(Serialize, Deserialize)]
struct Sent {
    /// The image, compressed with zstd.
    packed: Blob,
    unpacked: u64,
    /// SHA-256 of the image.
    digest: [u8; 32],
}

/// Requests images from the parent, and gives them to children.
pub(crate) struct ImageExchange {
    store: RefCell<ImageStore>,
    /// Permits for requests to the parent that serve children of this context, in the order of the requests.
    /// They are separate from `turns`, so that a child that requests many images does not delay them.
    own_turns: Semaphore,
    turns: Semaphore,
}

impl Default for ImageExchange {
    fn default() -> Self {
        Self {
            store: RefCell::default(),
            own_turns: Semaphore::new(FOR_OWN),
            turns: Semaphore::new(MAX_MACHINES - FOR_OWN),
        }
    }
}

impl ImageExchange {
    /// Returns the image for a machine on which this context starts a child.
    pub(crate) async fn image_for(&self, io: &Rc<Io>, system: &str, machine: &str) -> Told {
        self.image(io, executable::machine(system, machine), &self.own_turns).await
    }

    async fn image(&self, io: &Rc<Io>, machine: Machine, turns: &Semaphore) -> Told {
        let words = machine.clone();
        match on_other_thread(move || carried(&words)).await {
            Ok(Ok(Some(image))) => return Ok(image),
            Ok(Ok(None)) => {}
            Ok(Err(why)) => return Err(Missing::Broken(why)),
            Err(_) => return Err(panicked()),
        }
        let Some(parent) = io.shared.parent() else {
            return Err(Missing::Unknown(known()));
        };
        if !is_sane(&machine) {
            return Err(Missing::Unknown(known()));
        }
        // The wait is bounded, because connects have a deadline.
        let _turn = turns.acquire().await;
        let way = self.store.borrow_mut().find(&machine);
        let told = match way {
            Way::Here(image) => return Ok(image),
            Way::Wait { told, ask } => {
                if ask && let Ok(data) = codec::encode(&machine) {
                    io.send(Message::new(parent, Handle::GET_IMAGE, data));
                }
                told
            }
        };
        told.await.unwrap_or_else(|_| Err(Missing::Broken("the parent has gone".into())))
    }

    /// Handles the request of a child for an image. A request is ignored if it is invalid, or if the same
    /// request has not been answered yet. If the child does not read, the answer waits until it does.
    pub(super) fn on_get_image(&self, io: &Rc<Io>, message: &Message, link: Option<LinkId>) {
        let (Ok(machine), Some(link)) = (codec::decode::<Machine>(&message.data, None), link) else {
            return;
        };
        let is_there = io.with_links(|links| links.contains(link));
        if !is_there || !is_sane(&machine) || !self.store.borrow_mut().give(link, &machine) {
            return;
        }
        let (this, child) = (Rc::clone(io), message.src);
        io.tasks.spawn(async move {
            let (io, exchange) = (&this, this.images());
            while io.with_links(|links| links.is_full(link)) {
                tokio::time::sleep(CONGESTED).await;
            }
            let packed = match exchange.image(io, machine.clone(), &exchange.turns).await {
                Ok(image) => match on_other_thread(move || pack(&image)).await {
                    Ok(Ok(packed)) => Ok(packed),
                    Ok(Err(error)) => Err(Missing::Broken(error.to_string())),
                    Err(_) => Err(panicked()),
                },
                Err(missing) => Err(missing),
            };
            send_image(io, child, machine.clone(), packed);
            exchange.store.borrow_mut().given(link, machine);
        });
    }

    /// Handles an image that the parent sends.
    pub(super) fn on_load_image(&self, io: &Rc<Io>, message: &Message) {
        // Another thread unpacks and checks the image, because this takes long.
        let Ok((machine, used)) = codec::decode_front::<Machine>(&message.data, None) else {
            return;
        };
        let rest = message.data.slice(used..);
        if !self.store.borrow().awaits(&machine) {
            return;
        }
        let this = Rc::clone(io);
        io.tasks.spawn(async move {
            let (words, hop) = (machine.clone(), this.shared.name.clone());
            let checked = on_other_thread(move || {
                let result = codec::decode::<Result<Sent, Missing>>(&rest, None);
                check(result.map_err(Missing::Broken)??, &words, &hop)
            })
            .await;
            let told = checked.unwrap_or_else(|_| Err(panicked()));
            this.images().store.borrow_mut().arrived(machine, &told);
        });
    }
}

fn send_image(io: &Rc<Io>, child: ContextId, machine: Machine, sent: Result<Sent, Missing>) {
    let max = io.shared.max_message_size;
    let result = sent.and_then(|sent| match sent.packed.0.len() as u64 + 1024 {
        size if size > max => Err(Missing::Broken(format!("it is larger than a message may be here ({max} bytes)"))),
        _ => Ok(sent),
    });
    if let Ok(data) = codec::encode(&Load { machine, result }) {
        io.send(Message::new(child, Handle::LOAD_IMAGE, data));
    }
}

fn panicked() -> Missing {
    Missing::Broken("reading or packing the image has panicked".into())
}

fn pack(image: &Image) -> std::io::Result<Sent> {
    let Packed { bytes, unpacked, .. } = image.pack(Compression::Zstd)?;
    Ok(Sent { packed: Blob(bytes.to_vec()), unpacked, digest: image.digest()? })
}

/// Unpacks an image that arrived, and checks that it is unchanged. Blocks for some milliseconds.
fn check(sent: Sent, (system, processor): &Machine, hop: &str) -> Told {
    let image = Image::from_zstd(Bytes::from(sent.packed.0), sent.unpacked);
    let why = match image.digest() {
        Ok(digest) if digest == sent.digest => return Ok(Arc::new(image)),
        Ok(_) => "it has another digest than was sent with it".into(),
        Err(error) => error.to_string(),
    };
    Err(Missing::Broken(format!("the image for {system} {processor} has arrived damaged at {hop}: {why}; try again")))
}

fn is_sane((system, machine): &Machine) -> bool {
    system.len() + machine.len() <= MAX_WORDS
}

/// The image that this process carries or consists of, if it fits the machine. Blocks.
fn carried((system, machine): &Machine) -> Result<Option<Arc<Image>>, String> {
    let bundle = Bundle::own().map_err(|error| error.to_string())?;
    if let Some(image) = bundle.find(system, machine).map_err(|error| error.to_string())? {
        return Ok(Some(image));
    }
    if executable::runs_on(executable::own_machine(), system, machine) { Image::own().map(Some) } else { Ok(None) }
}

/// The names of the images that this process can supply itself.
fn known() -> Vec<String> {
    let carried = Bundle::own().map(Bundle::entries).unwrap_or_default();
    let (system, processor) = executable::own_machine();
    let mut known: Vec<String> = carried.iter().map(|entry| entry.triple.clone()).collect();
    if !carried.iter().any(|entry| (entry.system.as_str(), entry.processor.as_str()) == (system, processor)) {
        known.push(format!("{system} {processor}"));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_not_what_was_sent_is_refused_with_its_name_and_the_hop() {
        let sent = |damage: fn(&mut Sent)| {
            let mut sent = pack(&Image::own().unwrap()).unwrap();
            damage(&mut sent);
            check(sent, &("Linux".into(), "m1".into()), "ssh.hop")
        };
        assert!(sent(|_| ()).is_ok());
        let damages: [fn(&mut Sent); 4] = [
            |sent| sent.digest[31] ^= 1,
            |sent| sent.unpacked -= 1,
            |sent| sent.packed.0.truncate(1000),
            // Unpacking does not notice each changed byte.
            |sent| {
                let middle = sent.packed.0.len() / 2;
                sent.packed.0[middle] ^= 0x10;
            },
        ];
        for damage in damages {
            let Err(Missing::Broken(text)) = sent(damage) else { panic!("it was taken") };
            assert!(text.starts_with("the image for Linux m1 has arrived damaged at ssh.hop: "), "{text}");
        }
    }
}
