//! Places for files that are sent at once, so that no asker can keep all descriptors and all memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::message::ContextId;

/// The most files that are sent to one asker at once. Further ones wait.
const OF_ONE: usize = 32;
/// The most files that are sent at once. Each has a descriptor open, and most systems allow 1,024.
const OF_ALL: usize = 256;

/// The places of one service.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// The askers that have a place or wait for one, each with its places and the number of its requests.
    askers: Mutex<HashMap<ContextId, (Arc<Semaphore>, usize)>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(OF_ALL)), askers: Mutex::default() }
    }
}

/// A place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _request: Request<'a>,
}

/// A request that has a place or waits for one.
#[derive(Debug)]
struct Request<'a> {
    places: &'a Places,
    asker: ContextId,
}

impl Places {
    /// Waits for a place. Those of one asker wait for each other first, so one asker has at most 32 in the queue of
    /// all. `None` never comes while the service exists.
    pub(super) async fn enter(&self, asker: ContextId) -> Option<Place<'_>> {
        let mine = {
            let mut askers = self.lock();
            let (mine, requests) = askers.entry(asker).or_insert_with(|| (Arc::new(Semaphore::new(OF_ONE)), 0));
            *requests += 1;
            Arc::clone(mine)
        };
        let request = Request { places: self, asker };
        let mine = mine.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _permits: (mine, all), _request: request })
    }

    /// Whether all places are taken.
    pub(super) fn are_taken(&self) -> bool {
        self.all.available_permits() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContextId, (Arc<Semaphore>, usize)>> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut askers = self.places.lock();
        if let Some((_, requests)) = askers.get_mut(&self.asker) {
            *requests -= 1;
            if *requests == 0 {
                askers.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Whether a place is free at once.
    fn enter(places: &Places, asker: u32) -> Option<Place<'_>> {
        let mut enter = pin!(places.enter(ContextId(asker)));
        match enter.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_asker_has_a_bounded_number_of_places_and_leaves_nothing() {
        let places = Places::default();
        let mut mine: Vec<_> = (0..OF_ONE).map(|_| enter(&places, 1).unwrap()).collect();
        assert!(enter(&places, 1).is_none() && enter(&places, 2).is_some() && !places.are_taken());
        mine.pop();
        assert!(enter(&places, 1).is_some());
        drop(mine);
        assert!(places.lock().is_empty());
    }

    #[test]
    fn many_askers_have_a_bounded_number_of_places() {
        let places = Places::default();
        let taken: Vec<_> = (0..OF_ALL).map(|number| enter(&places, number as u32).unwrap()).collect();
        assert!(places.are_taken() && enter(&places, 1000).is_none());
        drop(taken);
        assert!(enter(&places, 1000).is_some());
        assert!(places.lock().is_empty());
    }
}
