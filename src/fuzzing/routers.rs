//! Real routers that are joined by bad links, and a program of what they do.
//!
//! - `world`: the routers; `wire`: a link with faults; `functions`: what the children run

mod functions;
mod wire;
mod world;

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use self::functions::{added, echoed, failed, held, poured};
use self::world::{LIMIT, World};
use crate::api::call::Call;
use crate::api::chain::CallChain;
use crate::api::context::Context;
use crate::api::function::Function;
use crate::api::stream::CallStream;
use crate::engine::shared::Request;
use crate::sys::blocking::block_until;
use crate::wire::codec::Blob;
use crate::wire::error::{ChannelErrorKind, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The most steps of a program.
const STEPS: usize = 24;
/// The most children behind bad links.
const CHILDREN: usize = 4;
/// How long a call may take if what comes over a link may be false: an answer can then get lost.
const IN_TIME: Duration = Duration::from_millis(100);

/// The first byte says whether bytes on the links may change and contexts may send whatever they like. Each step of the
/// program has a byte for its kind, one for the child or link, and one for a number.
///
/// Every call ends with its answer or an error. Without false bytes, the answer is right, and an error says that the other end
/// has gone.
pub(super) fn routers(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(mode) = rest.try_get_u8() else { return };
    // A machine that has no thread or socket left is not what is tested.
    let Ok(world) = World::new() else { return };
    let mut run = Run { world, is_true: mode & 1 == 0, pending: Vec::new(), has_closed: false };
    for _ in 0..STEPS {
        let (Ok(kind), Ok(which), Ok(number)) = (rest.try_get_u8(), rest.try_get_u8(), rest.try_get_u8()) else {
            break;
        };
        run.step(kind, usize::from(which), number, &mut rest);
    }
    let Run { world, is_true, pending, has_closed } = run;
    pending.into_iter().for_each(|pending| pending.end(is_true, has_closed));
    world.end();
}

struct Run {
    world: World,
    /// Whether all that arrives is what was sent.
    is_true: bool,
    pending: Vec<Pending>,
    /// Whether a child was told to end.
    has_closed: bool,
}

impl Run {
    fn step(&mut self, kind: u8, which: usize, number: u8, rest: &mut &[u8]) {
        let context = self.world.context(which);
        let size = usize::from(number);
        let way = &self.world.wires[which % self.world.wires.len()].ways[usize::from(kind >> 4) % 2];
        match kind % 16 {
            0 => self.pending.push(Pending::echo(&context, size * 64, self.is_true)),
            1 => self.pending.push(Pending::Sum(call(&context, self.is_true, added, (7, number.into())), number)),
            2 => self.pending.push(Pending::Failure(call(&context, self.is_true, failed, ()))),
            3 => self.pending.push(Pending::Held(call(&context, self.is_true, held, ()))),
            4 => self.pending.push(Pending::stream(&context, number, self.is_true)),
            5 => {
                let chain = context.call_chain();
                let calls = [chain.call(added, (1, 2)), chain.call(added, (3, 4))];
                self.pending.push(Pending::Chain(chain, calls.into()));
            }
            // A call that is dropped is cancelled.
            6 if !self.pending.is_empty() => drop(self.pending.swap_remove(size % self.pending.len())),
            7 if !self.pending.is_empty() => {
                let pending = self.pending.swap_remove(size % self.pending.len());
                pending.end(self.is_true, self.has_closed);
            }
            // Many small pieces take long, which is all that more of them would show.
            8 => way.divide(size.checked_sub(1).map_or(0, |size| 64 + size)),
            9 => way.delay(u64::from(number / 8)),
            10 if !self.is_true => way.change(size * 4, 1 << (which % 8)),
            11 => self.world.wires[which % self.world.wires.len()].cut(),
            12 => {
                self.has_closed = true;
                drop(context.shutdown_nowait());
            }
            13 if self.world.children.len() < CHILDREN => {
                let parent = size.checked_sub(1).map(|parent| parent % self.world.children.len());
                // Its parent may have gone.
                let _ = self.world.add_child(parent);
            }
            14 if !self.is_true => self.send(which, number, rest),
            _ => std::thread::sleep(Duration::from_micros(u64::from(number) * 8)),
        }
    }

    /// A child sends whatever the program says, to whomever it says.
    fn send(&self, which: usize, number: u8, rest: &mut &[u8]) {
        let [dst, handle, reply_to] = [(); 3].map(|()| u32::from(rest.try_get_u8().unwrap_or_default()));
        let flags = rest.try_get_u8().unwrap_or_default();
        let data = rest.split_off(..usize::from(number).min(rest.len())).unwrap_or_default();
        // The numbers below 118 are control handles. The others are those that were given out first.
        let port = |number: u32| Handle(if number < 118 { number } else { number - 118 + Handle::FIRST_DYNAMIC.0 });
        let message = Message {
            dst: ContextId(dst % 8),
            handle: port(handle),
            reply_to: if flags & 1 == 0 { port(reply_to) } else { Handle::IS_DEAD },
            raw: flags & 2 != 0,
            error: flags & 4 != 0,
            secret: flags & 8 != 0,
            lane: [Lane::Control, Lane::User, Lane::Log, Lane::User][usize::from(flags >> 4 & 3)],
            dead_kind: ChannelErrorKind::from_bits(flags >> 5),
            data: Bytes::copy_from_slice(data),
            ..Message::default()
        };
        let children = &self.world.children;
        children[which % children.len()].router.shared().request(Request::Send(message));
    }
}

/// Calls a function, with a time limit if the answer may get lost.
fn call<F: Function<K>, K>(context: &Context, is_true: bool, function: F, args: F::Args) -> Call<F::Ok> {
    if is_true { context.call(function, args) } else { context.timeout(IN_TIME).call(function, args) }
}

/// Something that has to end.
enum Pending {
    Echo(Call<Blob>, Vec<u8>),
    Sum(Call<u32>, u8),
    Failure(Call<()>),
    /// It ends when it is dropped.
    Held(Call<()>),
    Stream(CallStream<(u32, Blob), u32>, u8),
    /// Each sum is four more than the one before.
    Chain(CallChain, Vec<Call<u32>>),
}

impl Pending {
    fn echo(context: &Context, size: usize, is_true: bool) -> Self {
        let data: Vec<u8> = (0..size).map(|nth| nth as u8).collect();
        Self::Echo(call(context, is_true, echoed, (Blob(data.clone()),)), data)
    }

    fn stream(context: &Context, number: u8, is_true: bool) -> Self {
        let args = |to| (u32::from(number), u32::from(number) * 2, to);
        Self::Stream(
            if is_true { context.stream(poured, args) } else { context.timeout(IN_TIME).stream(poured, args) },
            number,
        )
    }

    /// Waits for the end.
    fn end(self, is_true: bool, has_closed: bool) {
        let deadline = Instant::now() + LIMIT;
        match self {
            Self::Echo(call, data) => {
                let answer = ended(block_until(call, deadline));
                check(answer.map(|answer| answer.0 == data), is_true, has_closed);
            }
            Self::Sum(call, number) => {
                let answer = ended(block_until(call, deadline));
                check(answer.map(|answer| answer == u32::from(number) + 7), is_true, has_closed);
            }
            Self::Failure(call) => match ended(block_until(call, deadline)) {
                Err(Error::Call(error)) if is_true => assert_eq!(error.message, "it has failed"),
                Err(error) => check(Err(error), is_true, has_closed),
                Ok(()) => assert!(!is_true, "what fails has succeeded"),
            },
            Self::Held(call) => drop(call),
            Self::Stream(mut stream, number) => {
                let (mut next, mut in_order) = (0, true);
                let result = ended(block_until(
                    async {
                        while let Some(item) = stream.next().await {
                            let Ok((number, data)) = item else { continue };
                            in_order &= number == next && data.0 == vec![7; data.0.len()];
                            next += 1;
                        }
                        stream.result().await
                    },
                    deadline,
                ));
                assert!(in_order || !is_true, "values come in another order");
                let is_whole = result.map(|count| count == next && next == u32::from(number) && in_order);
                check(is_whole, is_true, has_closed);
            }
            Self::Chain(chain, calls) => {
                for (expected, mut call) in [3, 7].into_iter().zip(calls) {
                    let answer = match is_true {
                        true => ended(block_until(call, deadline)),
                        false => call.blocking_recv_timeout(IN_TIME),
                    };
                    check(answer.map(|answer| answer == expected), is_true, has_closed);
                }
                drop(chain);
            }
        }
    }
}

fn ended<T>(outcome: Option<T>) -> T {
    outcome.unwrap_or_else(|| panic!("a call has not ended within {LIMIT:?}"))
}

/// `outcome`: whether the answer is right.
fn check(outcome: Result<bool, Error>, is_true: bool, has_closed: bool) {
    match outcome {
        _ if !is_true => {}
        Ok(is_right) => assert!(is_right, "an answer is wrong"),
        // A child that is told to end cancels what runs there.
        Err(error) if has_closed => assert!(!error.is_timeout(), "{error}"),
        Err(error) => assert!(error.is_disconnected(), "{error}"),
    }
}
