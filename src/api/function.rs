//! Functions that other contexts may call, and the table of these functions.
//!
//! [`export!`](crate::export) adds a function to the table that is compiled into every copy of the program. A
//! function is identified by its full name and not by its address, because copies for different machines
//! differ.

#[doc(hidden)]
pub mod arguments;
mod shapes;

use std::any::{TypeId, type_name};
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::error::Error as StdError;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::api::econtext::Econtext;
use crate::api::router::{Router, WeakRouter};
use crate::engine::callee::{Callee, Failure, Functions, IncomingCall, Outcome, Running};
use crate::routing::handles::Peer;
use crate::routing::runs_on::RunsOn;
use crate::wire::call_payload;
use crate::wire::codec::{self, Origin};
use crate::wire::error::Error;
use crate::wire::message::Message;

/// A function that can be called in another context.
///
/// Implemented for every `fn` item, sync or async, with these parameters and this result:
///
/// - First `&Econtext`, then `&Router`. Both are optional. The called context supplies them; the caller does
///   not send them.
/// - Then up to 12 arguments, which are owned and serialisable.
/// - The result is a [`Value`], or a `Result` of any type that serde can write and read. Its error is any error, also
///   `Box<dyn Error + Send + Sync>`, `String` and `&'static str`.
///
/// The type parameter `K` only distinguishes these forms.
///
/// [`export!`](crate::export) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called in another context",
    note = "it must be a plain `fn`; its arguments, after `&Econtext` and/or `&Router`, are owned and serialisable by serde: write `String` instead of `&str`",
    note = "it returns a `Result`, or an `offshoot::Value`: for a type `T` of yours derive `Serialize` and `Deserialize`, and write `impl offshoot::Value for T {{}}`",
    note = "the `E` of a `Result<T, E>` must be an error: write `impl std::error::Error for E {{}}`, or return `Result<T, String>` or `Result<T, Box<dyn Error + Send + Sync>>`"
)]
pub trait Function<K>: Copy + Send + Sync + 'static {
    /// The arguments that are sent, as a tuple.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// The result that the caller gets on success.
    type Ok: Serialize + DeserializeOwned + Send + 'static;

    /// Runs the function with arguments that were received.
    #[doc(hidden)]
    fn run<'a>(self, econtext: &'a Econtext, args: Self::Args) -> Running<'a>;
}

/// A type that a function may return without a `Result`.
///
/// Implemented for the types of `std` that serde knows, including arrays, `Arc` and `NonZero` types, and for the types
/// of this crate that travel. A type of your own needs one line. (`Result` must not implement it, since a `Result` always means
/// success or failure.)
///
/// ```
/// use offshoot::{Value, export};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Facts {
///     cores: [u32; 2],
/// }
/// impl Value for Facts {}
///
/// fn facts() -> Facts {
///     Facts { cores: [8, 4] }
/// }
/// export!(facts);
/// # fn main() {}
/// ```
///
/// A function that returns `Result<Facts, E>` does not need this line.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of an exported function yet",
    note = "if it is yours, derive `Serialize` and `Deserialize` and add `impl offshoot::Value for {Self} {{}}`"
)]
pub trait Value: Serialize + DeserializeOwned + Send + 'static {}

/// The result of a function: `Result<T, E>` or a plain [`Value`].
#[doc(hidden)]
pub trait Return<M> {
    type Ok: Serialize + DeserializeOwned + Send + 'static;
    fn outcome(self) -> Outcome;
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Plain;
#[doc(hidden)]
#[derive(Debug)]
pub struct Fallible;

impl<T: Value> Return<Plain> for T {
    type Ok = T;
    fn outcome(self) -> Outcome {
        encode_result(&self)
    }
}

impl<T, E> Return<Fallible> for Result<T, E>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Ok = T;
    fn outcome(self) -> Outcome {
        match self {
            Ok(value) => encode_result(&value),
            Err(error) => {
                let error: Box<dyn StdError + Send + Sync> = error.into();
                Err(Failure::from_error(type_name::<E>(), &*error))
            }
        }
    }
}

fn encode_result<T: Serialize>(value: &T) -> Outcome {
    call_payload::encode_result(value).map_err(|why| {
        Failure::new("offshoot::Error", format!("the result of type {} cannot be sent: {why}", type_name::<T>()))
    })
}

/// Markers that distinguish sync functions from async ones.
#[doc(hidden)]
#[derive(Debug)]
pub struct Blocking;
#[doc(hidden)]
#[derive(Debug)]
pub struct Asynchronous;

macro_rules! values {
    ($($t:ty)*) => { $(impl Value for $t {})* };
}
macro_rules! tuples {
    ($($t:ident)*) => { impl<$($t: Value),*> Value for ($($t,)*) {} };
}
values!(() bool char u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 String std::path::PathBuf
    std::ffi::OsString std::ffi::CString std::time::Duration std::time::SystemTime std::net::IpAddr
    std::net::Ipv4Addr std::net::Ipv6Addr std::net::SocketAddr std::net::SocketAddrV4 std::net::SocketAddrV6
    std::num::NonZeroU8 std::num::NonZeroU16 std::num::NonZeroU32 std::num::NonZeroU64 std::num::NonZeroU128
    std::num::NonZeroUsize std::num::NonZeroI8 std::num::NonZeroI16 std::num::NonZeroI32 std::num::NonZeroI64
    std::num::NonZeroI128 std::num::NonZeroIsize Box<str> Box<std::path::Path> codec::Blob codec::Secret
    crate::api::context::Context crate::wire::message::ContextId crate::wire::message::Handle);
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
tuples!(A B C D E F G H I);
tuples!(A B C D E F G H I J);
tuples!(A B C D E F G H I J K);
tuples!(A B C D E F G H I J K L);
impl Value for crate::engine::stats::Stats {}
impl<T: Value> Value for Option<T> {}
impl<T: Value> Value for Vec<T> {}
impl<T: Value> Value for Box<T> {}
impl<T: Value> Value for Box<[T]> {}
/// The receiver gets an independent copy.
impl<T: Value + Sync> Value for std::sync::Arc<T> where Self: Serialize + DeserializeOwned {}
impl<T: Value, const N: usize> Value for [T; N] where Self: Serialize + DeserializeOwned {}
impl<T: Value> Value for std::ops::Range<T> {}
impl<T: Value> Value for std::ops::RangeInclusive<T> {}
impl<T: Value> Value for std::ops::RangeFrom<T> {}
impl<T: Value> Value for std::ops::RangeTo<T> {}
impl<T: Value> Value for std::ops::Bound<T> {}
impl<T: Value> Value for std::cmp::Reverse<T> {}
impl<T: Value> Value for std::num::Wrapping<T> {}
impl<T: Value> Value for std::num::Saturating<T> where Self: Serialize + DeserializeOwned {}
impl<T: Value + Copy> Value for std::cell::Cell<T> {}
impl<T: Value> Value for std::cell::RefCell<T> {}
impl<T: Value> Value for std::sync::Mutex<T> {}
impl<T: Value> Value for std::sync::RwLock<T> {}
impl<T: Value> Value for std::collections::LinkedList<T> {}
impl<T: Value + Ord> Value for std::collections::BinaryHeap<T> {}
impl<T: ToOwned + ?Sized + Serialize + 'static> Value for std::borrow::Cow<'static, T>
where
    T::Owned: DeserializeOwned + Send,
    Self: Send,
{
}
impl<T: Value> Value for std::collections::VecDeque<T> {}
impl<T: Value + Ord> Value for BTreeSet<T> {}
impl<K: Value + Ord, V: Value> Value for std::collections::BTreeMap<K, V> {}
impl<T: Value + Eq + std::hash::Hash> Value for std::collections::HashSet<T> {}
impl<K: Value + Eq + std::hash::Hash, V: Value> Value for HashMap<K, V> {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Value for crate::api::sender::Sender<T> {}

/// Decodes arguments, and runs a function with them.
type Run = for<'a> fn(&'a Econtext, &[u8]) -> Running<'a>;

/// One entry of the function table.
#[doc(hidden)]
#[derive(Debug)]
pub struct Entry {
    pub(crate) name: fn() -> &'static str,
    pub(crate) signature: fn() -> String,
    pub(crate) run: for<'a> fn(&'a Econtext, &[u8]) -> Running<'a>,
    pub(crate) runs_on: RunsOn,
    pub(crate) place: &'static str,
    /// If it is a method of a service: which, and who may call it.
    pub(crate) service: Option<OfService>,
    /// For tools that know the types only by name.
    #[cfg(feature = "cli")]
    pub(crate) shim: crate::api::exported::Shim,
}

/// The service that a method belongs to.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfService {
    /// The full name of the type.
    pub(crate) name: fn() -> &'static str,
    pub(crate) id: fn() -> TypeId,
    /// Whether its calls run one at a time.
    pub(crate) is_serial: bool,
    /// Whether a message may call the method.
    pub(crate) allows: fn(&Message, &Peer) -> bool,
    /// Makes the interface to all services of this context. So a program without services does not contain it.
    pub(crate) services: fn(WeakRouter) -> Box<dyn Functions>,
}

impl Entry {
    /// An entry for a method of a service.
    pub(crate) const fn of_service(
        name: fn() -> &'static str,
        signature: fn() -> String,
        (run, runs_on): (Run, RunsOn),
        service: OfService,
        place: &'static str,
    ) -> Self {
        Self {
            name,
            signature,
            run,
            runs_on,
            place,
            service: Some(service),
            #[cfg(feature = "cli")]
            shim: crate::api::exported::Shim::none(),
        }
    }

    /// Used only by [`export!`](crate::export).
    pub const fn new<F: Function<K>, K>(
        _: F,
        run: for<'a> fn(&'a Econtext, &[u8]) -> Running<'a>,
        runs_on: RunsOn,
        place: &'static str,
    ) -> Self {
        Self {
            name: type_name::<F>,
            signature: signature_of::<F, K>,
            run,
            runs_on,
            place,
            service: None,
            #[cfg(feature = "cli")]
            shim: crate::api::exported::Shim::of::<F, K>(),
        }
    }

    /// An entry for a function that cannot be called with JSON.
    pub const fn bound<F: Function<K>, K>(
        function: F,
        run: for<'a> fn(&'a Econtext, &[u8]) -> Running<'a>,
        runs_on: RunsOn,
        place: &'static str,
    ) -> Self {
        Self {
            #[cfg(feature = "cli")]
            shim: crate::api::exported::Shim::bound::<F, K>(),
            ..Self::new(function, run, runs_on, place)
        }
    }
}

inventory::collect!(Entry);

/// `name(args) -> ok`. The digest of the table is computed from these lines.
fn signature_of<F: Function<K>, K>() -> String {
    format!("{}{} -> {}", type_name::<F>(), type_name::<F::Args>(), type_name::<F::Ok>())
}

/// Decodes the arguments and runs the function with them.
#[doc(hidden)]
pub fn run<'a, F: Function<K>, K>(function: F, econtext: &'a Econtext, args: &[u8]) -> Running<'a> {
    // Only contexts above this one call functions here. Contexts and senders in their arguments get the
    // authority of this context.
    let shared = econtext.shared();
    let origin = Origin::at(shared, econtext.caller_id(), shared.me);
    match codec::decode::<F::Args>(args, Some(origin)) {
        Ok(args) => function.run(econtext, args),
        Err(why) => Running::Done(Err(Failure::new(
            "offshoot::Error",
            format!("the arguments are not of type {}: {why}", type_name::<F::Args>()),
        ))),
    }
}

/// What [`Connect::allow`](crate::connect::Connect::allow) takes: an exported function, or some functions of the library.
/// This trait is for the compiler: nothing else implements it.
///
/// The method has an example.
pub trait Allowed<K> {
    /// The names of the functions.
    #[doc(hidden)]
    fn names(self) -> Vec<&'static str>;
}

impl<F: Function<K>, K> Allowed<(K,)> for F {
    fn names(self) -> Vec<&'static str> {
        vec![type_name::<F>()]
    }
}

/// Functions of the library that belong together, for [`Connect::allow`](crate::connect::Connect::allow), which has an
/// example.
#[derive(Debug, Clone, Copy)]
pub struct Builtin(pub(crate) fn() -> Vec<&'static str>);

impl Allowed<()> for Builtin {
    fn names(self) -> Vec<&'static str> {
        (self.0)()
    }
}

/// The exported functions of this program, by name.
#[derive(Debug)]
pub(crate) struct Table {
    /// Each call is looked up at both ends.
    by_name: foldhash::HashMap<&'static str, &'static Entry>,
    digest: [u8; 32],
}

impl Table {
    /// The table of this program.
    ///
    /// # Panics
    ///
    /// If two functions have the same name, since calls to them could not be distinguished. This happens with
    /// two `fn inner` in blocks of one function.
    pub(crate) fn get() -> &'static Self {
        match Self::checked() {
            Ok(table) => table,
            Err(why) => panic!("{why}"),
        }
    }

    /// The table of this program, or what is wrong with it.
    pub(crate) fn checked() -> &'static Result<Self, String> {
        static TABLE: OnceLock<Result<Table, String>> = OnceLock::new();
        TABLE.get_or_init(|| {
            let mut by_name = foldhash::HashMap::default();
            let mut lines = Vec::new();
            for entry in inventory::iter::<Entry> {
                let name = (entry.name)();
                if let Some(other) = by_name.insert(name, entry) {
                    let other: &Entry = other;
                    return Err(format!(
                        "two exported functions are called {name}, at {} and at {}: rename one of them, or export it only once",
                        other.place, entry.place
                    ));
                }
                lines.push((entry.signature)());
            }
            lines.sort_unstable();
            let mut digest = Sha256::new();
            for line in &lines {
                digest.update(line.as_bytes());
                digest.update(b"\n");
            }
            Ok(Self { by_name, digest: digest.finalize().into() })
        })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&'static Entry> {
        self.by_name.get(name).copied()
    }

    /// All functions, without the methods of services, in no particular order.
    #[cfg(feature = "cli")]
    pub(crate) fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        self.by_name.values().copied().filter(|entry| entry.service.is_none())
    }

    /// The modules that contain exported functions, and their crates, sorted.
    pub(crate) fn modules(&self) -> BTreeSet<&'static str> {
        let paths = self.by_name.keys().filter_map(|name| name.rsplit_once("::"));
        paths.flat_map(|(module, _)| [module.split("::").next().unwrap_or(module), module]).collect()
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Gives the functions of this program to the engine of one router.
pub(crate) struct LocalFunctions(pub(crate) Router);

impl Functions for LocalFunctions {
    fn find(&self, name: &str, _: &Message, _: &dyn Fn() -> Peer) -> Result<Box<dyn Callee>, Error> {
        self.0.shared().check_allowed(name)?;
        match Table::get().find(name).filter(|entry| entry.service.is_none()) {
            Some(entry) => Ok(LocalFunction::of(entry, self.0.clone())),
            None => Err(Error::NotExported { function: name.to_owned(), context: self.0.shared().name.clone() }),
        }
    }

    fn services(&self) -> Option<Box<dyn Functions>> {
        let service = inventory::iter::<Entry>.into_iter().find_map(|entry| entry.service)?;
        Some((service.services)(self.0.downgrade()))
    }
}

impl LocalFunction {
    /// The function of an entry, for one call.
    pub(crate) fn of(entry: &'static Entry, router: Router) -> Box<dyn Callee> {
        Box::new(Self { entry, router, econtext: OnceCell::new() })
    }
}

/// A function that runs for one call.
pub(crate) struct LocalFunction {
    entry: &'static Entry,
    router: Router,
    /// Created when the function begins.
    econtext: OnceCell<Econtext>,
}

impl Callee for LocalFunction {
    fn name(&self) -> &'static str {
        (self.entry.name)()
    }

    fn runs_on(&self) -> RunsOn {
        self.entry.runs_on
    }

    fn serial(&self) -> Option<&'static str> {
        self.entry.service.filter(|service| service.is_serial).map(|service| (service.name)())
    }

    fn run<'a>(&'a self, call: &IncomingCall, args: &[u8]) -> Running<'a> {
        let econtext = self.econtext.get_or_init(|| Econtext::of(self.router.clone(), call.clone()));
        (self.entry.run)(econtext, args)
    }
}

/// Adds functions to the function table, so that other contexts can call them.
///
/// ```
/// fn uptime() -> std::io::Result<String> {
///     std::fs::read_to_string("/proc/uptime")
/// }
/// offshoot::export!(uptime);
///
/// fn slow() {}
/// offshoot::export!(concurrent slow); // does not wait behind other calls
/// # fn main() {}
/// ```
///
/// All functions of a context, plain or async, run one at a time, in the order of their calls, unless they are
/// exported as `concurrent`. An async function that waits for something else than its own calls and values, such
/// as one that serves a [`Channel`](crate::Channel), holds up every later call of its context: export it as
/// `concurrent`. At most 64 concurrent functions run at once.
///
/// The words `io` and `bound`, which the macro also takes, are for functions of this crate. Do not use them: such
/// a function runs on the I/O thread.
///
/// The linker omits a crate that the program does not refer to. The functions of such a crate are then
/// missing from the table. To include it, write `use that_crate as _;`.
#[macro_export]
macro_rules! export {
    (concurrent $($function:path),+ $(,)?) => { $($crate::export!(@ new, Concurrent, $function);)+ };
    (io $($function:path),+ $(,)?) => { $($crate::export!(@ new, Io, $function);)+ };
    (bound $($function:path),+ $(,)?) => { $($crate::export!(@ bound, Io, $function);)+ };
    ($($function:path),+ $(,)?) => { $($crate::export!(@ new, Queued, $function);)+ };
    (@ $new:ident, $runs_on:ident, $function:path) => {
        const _: () = {
            fn _sends_its_arguments() {
                if let Some((a, b, c, d, e, f, g, h, i, j, k, l, m, n)) =
                    $crate::__private::arguments::arguments($function)
                {
                    use $crate::__private::arguments::*;
                    ((&a).owned(), (&b).owned(), (&c).owned(), (&d).owned(), (&e).owned(), (&f).owned(), (&g).owned());
                    ((&h).owned(), (&i).owned(), (&j).owned(), (&k).owned(), (&l).owned(), (&m).owned(), (&n).owned());
                    ((&a).sent(), (&b).sent(), (&c).sent(), (&d).sent(), (&e).sent(), (&f).sent(), (&g).sent());
                    ((&h).sent(), (&i).sent(), (&j).sent(), (&k).sent(), (&l).sent(), (&m).sent(), (&n).sent());
                }
            }
            fn run<'a>(econtext: &'a $crate::Econtext, args: &[u8]) -> $crate::__private::Running<'a> {
                $crate::__private::run($function, econtext, args)
            }
            $crate::__private::inventory::submit! {
                $crate::__private::Entry::$new(
                    $function,
                    run,
                    $crate::__private::RunsOn::$runs_on,
                    concat!(file!(), ":", line!()),
                )
            }
        };
    };
}
