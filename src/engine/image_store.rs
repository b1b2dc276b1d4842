//! Images for machines below: those that are kept, those that were asked for upstream, and those that children are
//! about to be given. Decides, and does no I/O.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::image::executable::Image;
use crate::routing::table::LinkId;

/// Images that a context asks for at once, and that one child may ask it for.
pub(crate) const MAX_MACHINES: usize = 16;
/// Bytes of images that a context keeps, as they travel.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// A machine, by [`machine`](crate::image::executable::machine).
pub(crate) type Machine = (String, String);
/// What those who wait for an image are told.
pub(crate) type Told = Result<Arc<Image>, Missing>;

/// Images for other machines than this one.
#[derive(Default)]
pub(crate) struct ImageStore {
    /// What was used last is last. There are few.
    kept: Vec<(Machine, Arc<Image>)>,
    /// Asked for upstream, and who waits for it.
    awaited: HashMap<Machine, Vec<oneshot::Sender<Told>>>,
    /// What children are about to be given.
    giving: HashSet<(LinkId, Machine)>,
}

/// How an image is had.
pub(crate) enum Way {
    Here(Arc<Image>),
    /// It will be told. The parent must be asked first, if nobody has.
    Wait {
        told: oneshot::Receiver<Told>,
        ask: bool,
    },
}

impl ImageStore {
    /// Finds an image, or has the caller wait for it.
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
                // Those who gave up need not be told.
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

    /// Whether an image was asked for upstream and has not come.
    pub(crate) fn awaits(&self, machine: &Machine) -> bool {
        self.awaited.contains_key(machine)
    }

    /// Whether a child that asks for an image is to be answered: one answer
    /// at a time for each machine.
    pub(crate) fn give(&mut self, link: LinkId, machine: &Machine) -> bool {
        let many = self.giving.iter().filter(|(other, _)| *other == link).count() >= MAX_MACHINES;
        !many && self.giving.insert((link, machine.clone()))
    }

    /// A child has been answered.
    pub(crate) fn given(&mut self, link: LinkId, machine: Machine) {
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
