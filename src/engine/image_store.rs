//! Images for machines below this context: images that are kept, images that were requested from the parent,
//! and images that are being sent to children. It only makes decisions; its callers do the I/O.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::image::executable::Image;
use crate::routing::table::LinkId;

/// Maximum number of images that a context requests at once, and that one child may request from it at once.
pub(crate) const MAX_MACHINES: usize = 16;
/// Maximum size of the images that a context keeps, in bytes of their compressed form.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// A kind of machine, as [`machine`](crate::image::executable::machine) names it.
pub(crate) type Machine = (String, String);
/// The result that the waiters for an image get.
pub(crate) type Told = Result<Arc<Image>, Missing>;

/// Images for other kinds of machines than this one.
#[derive(Default)]
pub(crate) struct ImageStore {
    /// In the order of their last use, the most recent last. The list is short.
    kept: Vec<(Machine, Arc<Image>)>,
    /// The images that were requested from the parent, and their waiters.
    awaited: HashMap<Machine, Vec<oneshot::Sender<Told>>>,
    /// The images that are being sent to children.
    giving: HashSet<(LinkId, Machine)>,
}

/// The result of [`ImageStore::find`].
pub(crate) enum Way {
    Here(Arc<Image>),
    /// The image arrives later. `ask`: the caller has to request it from the parent, because that has not
    /// been done yet.
    Wait {
        told: oneshot::Receiver<Told>,
        ask: bool,
    },
}

impl ImageStore {
    /// Finds an image, or adds the caller to its waiters.
    pub(crate) fn find(&mut self, machine: &Machine) -> Way {
        if let Some(at) = self.kept.iter().position(|(kept, _)| kept == machine) {
            let found = self.kept.remove(at);
            let image = Arc::clone(&found.1);
            self.kept.push(found);
            return Way::Here(image);
        }
        let (tell, told) = oneshot::channel();
        match self.awaited.get_mut(machine) {
            Some(waiting) => {
                // Waiters that have given up are removed.
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

    /// Keeps an image that was requested, and passes it to its waiters. An image that is missing may be
    /// requested again.
    pub(crate) fn arrived(&mut self, machine: Machine, result: &Told) {
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

    /// Whether an image was requested from the parent and has not arrived.
    pub(crate) fn awaits(&self, machine: &Machine) -> bool {
        self.awaited.contains_key(machine)
    }

    /// Whether the request of a child for an image has to be answered. Each child gets one answer at a time
    /// for each kind of machine.
    pub(crate) fn give(&mut self, link: LinkId, machine: &Machine) -> bool {
        let many = self.giving.iter().filter(|(other, _)| *other == link).count() >= MAX_MACHINES;
        !many && self.giving.insert((link, machine.clone()))
    }

    /// Notes that a child has been answered.
    pub(crate) fn given(&mut self, link: LinkId, machine: Machine) {
        self.giving.remove(&(link, machine));
    }
}

/// The reason why there is no image for a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Missing {
    /// There is no such image. The list contains the images that exist.
    Unknown(Vec<String>),
    /// The image exists but cannot be used.
    Broken(String),
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
    fn wait(images: &mut ImageStore, number: usize) -> (bool, oneshot::Receiver<Told>) {
        match images.find(&machine(number)) {
            Way::Wait { told, ask } => (ask, told),
            Way::Here(_) => panic!("it is here"),
        }
    }

    #[test]
    fn the_parent_is_asked_once_and_everyone_is_told() {
        let mut images = ImageStore::default();
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
        let mut images = ImageStore::default();
        let (_, mut told) = wait(&mut images, 1);
        images.arrived(machine(1), &Err(Missing::Unknown(Vec::new())));
        assert!(told.try_recv().unwrap().is_err());
        assert!(wait(&mut images, 1).0);
    }

    #[test]
    fn those_who_have_given_up_are_forgotten_but_what_is_asked_for_stays_so() {
        let mut images = ImageStore::default();
        drop(wait(&mut images, 0));
        assert!(!wait(&mut images, 0).0);
        assert!(images.awaits(&machine(0)));
        assert_eq!(images.awaited[&machine(0)].len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_the_last_used_stays() {
        let mut images = ImageStore::default();
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
        let (mut images, link, other) = (ImageStore::default(), LinkId(1), LinkId(2));
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
