//! Images through the tree: own ones, carried ones, and those that come from
//! upstream, each over each link at most once, and checked where it arrives.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use crate::engine::io::Io;
use crate::image::bundle::Bundle;
use crate::image::executable::{self, Compression, Image, Packed};
use crate::routing::table::LinkId;
use crate::sys::blocking::on_other_thread;
use crate::wire::codec::{self, Blob};
use crate::wire::message::{ContextId, Handle, Message};

/// Images that a context asks for at once, and that one child may ask it for.
const MAX_MACHINES: usize = 16;
/// Of these, those that are for children of its own, whatever others want.
const FOR_OWN: usize = 4;
/// Bytes of images that a context keeps, as they travel.
const MAX_KEPT: usize = 64 * 1024 * 1024;
/// Bytes of the words for a machine.
const MAX_WORDS: usize = 128;
/// How often a link that is full is looked at.
const CONGESTED: Duration = Duration::from_millis(20);

/// A machine, by [`executable::machine`].
type Machine = (String, String);
/// What whoever waits for an image is told.
type Told = Result<Arc<Image>, Missing>;

/// Images for other machines than this one: decides, and does no I/O.
pub(super) struct Images {
    /// What was used last is last. There are few.
    kept: Vec<(Machine, Arc<Image>)>,
    /// Asked for upstream, and who waits for it.
    awaited: HashMap<Machine, Vec<oneshot::Sender<Told>>>,
    /// What children are about to be given.
    giving: HashSet<(LinkId, Machine)>,
    /// Turns to ask upstream, first come, first served, so that nobody is
    /// kept from it by who asks for much.
    own_turns: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            awaited: HashMap::new(),
            giving: HashSet::new(),
            own_turns: Arc::new(Semaphore::new(FOR_OWN)),
            turns: Arc::new(Semaphore::new(MAX_MACHINES - FOR_OWN)),
        }
    }
}

/// How an image is had.
enum Way {
    Here(Arc<Image>),
    /// It will be told. The parent must be asked first, if nobody has.
    Wait {
        told: oneshot::Receiver<Told>,
        ask: bool,
    },
}

impl Images {
    fn find(&mut self, machine: &Machine) -> Way {
        if let Some(at) = self.kept.iter().position(|(kept, _)| kept == machine) {
            let found = self.kept.remove(at);
            let image = Arc::clone(&found.1);
            self.kept.push(found);
            return Way::Here(image);
        }
        let (tell, told) = oneshot::channel();
        match self.awaited.get_mut(machine) {
            Some(waiting) => {
                // Who gave up need not be told.
                waiting.retain(|tell| !tell.is_closed());
                waiting.push(tell);
                Way::Wait { told, ask: false }
            }
            None => {
                self.awaited.insert(machine.clone(), vec![tell]);
                Way::Wait { told, ask: true }
            }
        }
    }

    /// Keeps what was asked for, and tells those who wait for it. What is
    /// missing may be asked for again.
    fn arrived(&mut self, machine: Machine, result: &Told) {
        let Some(waiting) = self.awaited.remove(&machine) else {
            return;
        };
        if let Ok(image) = result {
            self.kept.push((machine, Arc::clone(image)));
            let size = |kept: &[(Machine, Arc<Image>)]| kept.iter().map(|(_, image)| image.held()).sum::<usize>();
            while size(&self.kept) > MAX_KEPT {
                self.kept.remove(0);
            }
        }
        for tell in waiting {
            let _ = tell.send(result.clone());
        }
    }

    /// Whether a child that asks for an image is to be answered: one answer
    /// at a time for each machine.
    fn give(&mut self, link: LinkId, machine: &Machine) -> bool {
        let many = self.giving.iter().filter(|(other, _)| *other == link).count() >= MAX_MACHINES;
        !many && self.giving.insert((link, machine.clone()))
    }

    fn given(&mut self, link: LinkId, machine: Machine) {
        self.giving.remove(&(link, machine));
    }
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
    result: Result<Sent, Missing>,
}

/// An image as it travels through the tree.
#[derive(Serialize, Deserialize)]
struct Sent {
    /// By zstd.
    packed: Blob,
    unpacked: u64,
    /// SHA-256 of the image.
    digest: [u8; 32],
}

impl Io {
    /// The image to send to a machine, for a child of this context.
    pub(crate) async fn image_for(self: &Rc<Self>, system: &str, machine: &str) -> Told {
        let turns = Arc::clone(&self.state.borrow().images.own_turns);
        self.image(executable::machine(system, machine), &turns).await
    }

    async fn image(self: &Rc<Self>, machine: Machine, turns: &Semaphore) -> Told {
        let words = machine.clone();
        match on_other_thread(move || carried(&words)).await {
            Ok(Ok(Some(image))) => return Ok(image),
            Ok(Ok(None)) => {}
            Ok(Err(why)) => return Err(Missing::Broken(why)),
            Err(_) => return Err(panicked()),
        }
        let Some(parent) = self.shared.parent() else {
            return Err(Missing::Unknown(known()));
        };
        if !is_sane(&machine) {
            return Err(Missing::Unknown(known()));
        }
        // Not even the longest wait is for ever: connects have a deadline.
        let _turn = turns.acquire().await;
        let way = self.state.borrow_mut().images.find(&machine);
        let told = match way {
            Way::Here(image) => return Ok(image),
            Way::Wait { told, ask } => {
                if ask && let Ok(data) = codec::encode(&machine) {
                    self.send(Message::new(parent, Handle::GET_IMAGE, data));
                }
                told
            }
        };
        told.await.unwrap_or_else(|_| Err(Missing::Broken("the parent has gone".into())))
    }

    /// A child asks for an image. One that asks for nonsense, or again before it
    /// was answered, is not heard; one that does not take in what it gets waits
    /// until it does.
    pub(super) fn on_get_image(self: &Rc<Self>, message: &Message, link: Option<LinkId>) {
        let (Ok(machine), Some(link)) = (codec::decode::<Machine>(&message.data, None), link) else {
            return;
        };
        let turns = {
            let state = &mut *self.state.borrow_mut();
            if !state.links.contains(link) || !is_sane(&machine) || !state.images.give(link, &machine) {
                return;
            }
            Arc::clone(&state.images.turns)
        };
        let (io, child) = (Rc::clone(self), message.src);
        self.tasks.spawn(async move {
            while io.with_links(|links| links.is_full(link)) {
                tokio::time::sleep(CONGESTED).await;
            }
            let packed = match io.image(machine.clone(), &turns).await {
                Ok(image) => match on_other_thread(move || pack(&image)).await {
                    Ok(Ok(packed)) => Ok(packed),
                    Ok(Err(error)) => Err(Missing::Broken(error.to_string())),
                    Err(_) => Err(panicked()),
                },
                Err(missing) => Err(missing),
            };
            io.send_image(child, machine.clone(), packed);
            io.state.borrow_mut().images.given(link, machine);
        });
    }

    fn send_image(self: &Rc<Self>, child: ContextId, machine: Machine, sent: Result<Sent, Missing>) {
        let max = self.shared.max_message_size;
        let result = sent.and_then(|sent| match sent.packed.0.len() as u64 + 1024 {
            size if size > max => {
                Err(Missing::Broken(format!("it is larger than a message may be here ({max} bytes)")))
            }
            _ => Ok(sent),
        });
        if let Ok(data) = codec::encode(&Load { machine, result }) {
            self.send(Message::new(child, Handle::LOAD_IMAGE, data));
        }
    }

    /// The parent gives what was asked for.
    pub(super) fn on_load_image(self: &Rc<Self>, message: &Message, _: Option<LinkId>) {
        // The image is read where it may take its time.
        let Ok((machine, used)) = codec::decode_front::<Machine>(&message.data, None) else {
            return;
        };
        let rest = message.data.slice(used..);
        if !self.state.borrow().images.awaited.contains_key(&machine) {
            return;
        }
        let io = Rc::clone(self);
        self.tasks.spawn(async move {
            let (words, hop) = (machine.clone(), io.shared.name.clone());
            let checked = on_other_thread(move || {
                let result = codec::decode::<Result<Sent, Missing>>(&rest, None);
                check(result.map_err(Missing::Broken)??, &words, &hop)
            })
            .await;
            let told = checked.unwrap_or_else(|_| Err(panicked()));
            io.state.borrow_mut().images.arrived(machine, &told);
        });
    }
}

fn panicked() -> Missing {
    Missing::Broken("reading or packing the image has panicked".into())
}

fn pack(image: &Image) -> std::io::Result<Sent> {
    let Packed { bytes, unpacked, .. } = image.pack(Compression::Zstd)?;
    Ok(Sent { packed: Blob(bytes.to_vec()), unpacked, digest: image.digest()? })
}

/// What came to this context, if it is what was sent. Blocks for some
/// milliseconds.
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

/// The image that this process carries or is itself, if it fits. Blocks.
fn carried((system, machine): &Machine) -> Result<Option<Arc<Image>>, String> {
    let bundle = Bundle::own().map_err(|error| error.to_string())?;
    if let Some(image) = bundle.find(system, machine).map_err(|error| error.to_string())? {
        return Ok(Some(image));
    }
    if executable::runs_on(executable::own_machine(), system, machine) { Image::own().map(Some) } else { Ok(None) }
}

/// The images that this process can give by itself.
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

    fn machine(number: usize) -> Machine {
        ("Linux".into(), format!("m{number}"))
    }

    fn image(size: usize) -> Told {
        Ok(Arc::new(Image::from_zstd(vec![0; size].into(), 1)))
    }

    /// Whether the parent must be asked, and the answer to come.
    fn wait(images: &mut Images, number: usize) -> (bool, oneshot::Receiver<Told>) {
        match images.find(&machine(number)) {
            Way::Wait { told, ask } => (ask, told),
            Way::Here(_) => panic!("it is here"),
        }
    }

    #[test]
    fn the_parent_is_asked_once_and_everyone_is_told() {
        let mut images = Images::default();
        let (first, mut one) = wait(&mut images, 1);
        let (second, mut two) = wait(&mut images, 1);
        assert_eq!((first, second), (true, false));
        images.arrived(machine(1), &image(10));
        assert!(one.try_recv().unwrap().is_ok() && two.try_recv().unwrap().is_ok());
        assert!(matches!(images.find(&machine(1)), Way::Here(_)));
        // What nobody asked for is not kept.
        images.arrived(machine(2), &image(10));
        assert!(wait(&mut images, 2).0);
    }

    #[test]
    fn what_is_missing_is_asked_for_again() {
        let mut images = Images::default();
        let (_, mut told) = wait(&mut images, 1);
        images.arrived(machine(1), &Err(Missing::Unknown(Vec::new())));
        assert!(told.try_recv().unwrap().is_err());
        assert!(wait(&mut images, 1).0);
    }

    #[test]
    fn those_who_have_given_up_are_forgotten_but_what_is_asked_for_stays_so() {
        let mut images = Images::default();
        drop(wait(&mut images, 0));
        assert!(!wait(&mut images, 0).0);
        assert_eq!(images.awaited[&machine(0)].len(), 1);
    }

    #[test]
    fn an_image_that_is_not_what_was_sent_is_refused_with_its_name_and_the_hop() {
        let sent = |damage: fn(&mut Sent)| {
            let mut sent = pack(&Image::own().unwrap()).unwrap();
            damage(&mut sent);
            check(sent, &machine(1), "ssh.hop")
        };
        assert!(sent(|_| ()).is_ok());
        let damages: [fn(&mut Sent); 4] = [
            |sent| sent.digest[31] ^= 1,
            |sent| sent.unpacked -= 1,
            |sent| sent.packed.0.truncate(1000),
            // Whatever the byte is for, unpacking does not notice all of them.
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

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_the_last_used_stays() {
        let mut images = Images::default();
        for number in 0..3 {
            let _ = wait(&mut images, number);
            images.arrived(machine(number), &image(MAX_KEPT / 3));
        }
        assert!(matches!(images.find(&machine(0)), Way::Here(_)));
        let _ = wait(&mut images, 3);
        images.arrived(machine(3), &image(MAX_KEPT / 3));
        assert!(matches!(images.find(&machine(0)), Way::Here(_)));
        assert!(wait(&mut images, 1).0);
    }

    #[test]
    fn a_child_is_given_one_answer_at_a_time_for_each_machine() {
        let (mut images, link, other) = (Images::default(), LinkId(1), LinkId(2));
        assert!(images.give(link, &machine(0)));
        assert!(!images.give(link, &machine(0)));
        assert!(images.give(other, &machine(0)));
        images.given(link, machine(0));
        assert!(images.give(link, &machine(0)));
        for number in 1..MAX_MACHINES {
            assert!(images.give(link, &machine(number)));
        }
        assert!(!images.give(link, &machine(MAX_MACHINES)));
    }
}
