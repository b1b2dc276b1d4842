//! Maps and sets for small keys, such as ids and handles, that are looked up several times per message.

/// A map with a quick hash function. It has a random seed, so that another process cannot choose keys that collide.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set with the same hash function.
pub(crate) type HashSet<T> = std::collections::HashSet<T, foldhash::fast::RandomState>;
