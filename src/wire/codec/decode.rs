//! Decodes values from bytes that bincode has written with its standard settings.
//!
//! A false claim in a payload costs no memory. A length is refused before anything is allocated,
//! unless that many bytes are there. The number of elements that take no bytes is bounded, and so
//! is the depth of nested values. So the memory of a value is at most its bytes times a constant of
//! its type.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

/// The most elements of lists in one value that take no bytes at all, such as `()`. Nothing else
/// bounds the time that they take.
const MAX_EMPTY: usize = 65_536;
/// The most levels of nested values. This is far more than programs use, and far less than what
/// fills the stack of a thread, which is 2 MiB.
const MAX_DEPTH: u32 = 256;

/// The reason why bytes are not a value.
#[derive(Debug)]
pub(super) struct Refusal(Box<str>);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string().into())
    }
}

#[cold]
fn refuse<T>(why: &str) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

/// The bytes that are left to read, and the limits that are left.
#[derive(Debug)]
pub(super) struct Decoder<'de> {
    rest: &'de [u8],
    /// How many more elements may take no bytes.
    empty_left: usize,
    /// How many more levels of nesting are allowed.
    depth_left: u32,
}

impl<'de> Decoder<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { rest: bytes, empty_left: MAX_EMPTY, depth_left: MAX_DEPTH }
    }

    /// Bytes that were not read.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            return refuse("it ends in the middle of a value");
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// Reads an unsigned number. Its first byte is the number if it is at most 250. Otherwise the
    /// byte says how many bytes follow.
    fn unsigned(&mut self) -> Result<u64, Refusal> {
        let [first] = self.array()?;
        match first {
            0..=250 => Ok(first.into()),
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?).into()),
            253 => Ok(u64::from_le_bytes(self.array()?)),
            _ => refuse("a number is too large for its type"),
        }
    }

    fn unsigned_wide(&mut self) -> Result<u128, Refusal> {
        match self.rest {
            [254, rest @ ..] => {
                self.rest = rest;
                Ok(u128::from_le_bytes(self.array()?))
            }
            _ => self.unsigned().map(Into::into),
        }
    }

    /// Reads a signed number: 0, -1, 1, -2 and so on are encoded as 0, 1, 2, 3 and so on.
    fn signed(&mut self) -> Result<i64, Refusal> {
        let number = self.unsigned()?;
        let half = i64::from_ne_bytes((number >> 1).to_ne_bytes());
        Ok(if number & 1 == 0 { half } else { !half })
    }

    fn signed_wide(&mut self) -> Result<i128, Refusal> {
        let number = self.unsigned_wide()?;
        let half = i128::from_ne_bytes((number >> 1).to_ne_bytes());
        Ok(if number & 1 == 0 { half } else { !half })
    }

    /// Reads a length, and that many bytes.
    fn bytes(&mut self) -> Result<&'de [u8], Refusal> {
        let length = self.unsigned()?;
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = taken else {
            return refuse(&format!("a length of {length}, where {} bytes are left", self.rest.len()));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self) -> Result<&'de str, Refusal> {
        std::str::from_utf8(self.bytes()?).or_else(|_| refuse("a text is not UTF-8"))
    }

    /// Reads the number of elements that follow.
    fn count(&mut self) -> Result<usize, Refusal> {
        let count = self.unsigned()?;
        let possible = self.rest.len().saturating_add(self.empty_left);
        match usize::try_from(count) {
            Ok(count) if count <= possible => Ok(count),
            _ => refuse(&format!("a list of {count}, where {} bytes are left", self.rest.len())),
        }
    }

    fn character(&mut self) -> Result<char, Refusal> {
        let width = match self.rest.first() {
            Some(0..0x80) => 1,
            Some(0..0xe0) => 2,
            Some(0..0xf0) => 3,
            _ => 4,
        };
        let text = self.rest.split_at_checked(width).and_then(|(taken, rest)| {
            let text = std::str::from_utf8(taken).ok()?;
            Some((text.chars().next()?, rest))
        });
        let Some((character, rest)) = text else {
            return refuse("a character is not UTF-8");
        };
        self.rest = rest;
        Ok(character)
    }

    fn flag(&mut self) -> Result<bool, Refusal> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => refuse("neither yes nor no"),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Refusal>) -> Result<T, Refusal> {
        if self.depth_left == 0 {
            return refuse(&format!("values lie more than {MAX_DEPTH} deep in each other"));
        }
        self.depth_left -= 1;
        let value = read(self);
        self.depth_left += 1;
        value
    }

    /// Reads an element of a list whose length the payload has claimed.
    fn element<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let before = self.rest.len();
        let value = read(self)?;
        if self.rest.len() == before {
            if self.empty_left == 0 {
                return refuse(&format!("more than {MAX_EMPTY} elements that take no bytes"));
            }
            self.empty_left -= 1;
        }
        Ok(value)
    }

    /// Reads elements whose number is known from the type.
    fn fields<V: Visitor<'de>>(&mut self, count: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.deeper(|decoder| visitor.visit_seq(Elements { decoder, left: count, is_list: false }))
    }
}

/// The elements of a list, a tuple, a struct or a map.
struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
    /// Whether the payload has claimed the number of elements.
    is_list: bool,
}

impl Elements<'_, '_> {
    /// The number of elements that memory may be allocated for in advance.
    fn hint(&self) -> usize {
        if self.is_list { self.left.min(self.decoder.rest.len()) } else { self.left }
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.is_list {
            self.decoder.element(|decoder| seed.deserialize(decoder)).map(Some)
        } else {
            seed.deserialize(&mut *self.decoder).map(Some)
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.decoder.element(|decoder| seed.deserialize(decoder)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refusal> {
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

/// Reads a number of a narrower type than the one that it is read as.
macro_rules! numbers {
    ($($method:ident $visit:ident $read:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            match self.$read()?.try_into() {
                Ok(number) => visitor.$visit(number),
                Err(_) => refuse("a number is too large for its type"),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Refusal;

    numbers! {
        deserialize_u16 visit_u16 unsigned
        deserialize_u32 visit_u32 unsigned
        deserialize_i16 visit_i16 signed
        deserialize_i32 visit_i32 signed
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let [byte] = self.array()?;
        visitor.visit_u8(byte)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_i8(i8::from_le_bytes(self.array()?))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_u64(self.unsigned()?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_i64(self.signed()?)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_u128(self.unsigned_wide()?)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_i128(self.signed_wide()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_f32(f32::from_le_bytes(self.array()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_f64(f64::from_le_bytes(self.array()?))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_bool(self.flag()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_char(self.character()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.flag()? { self.deeper(|decoder| visitor.visit_some(decoder)) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let left = self.count()?;
        self.deeper(|decoder| visitor.visit_seq(Elements { decoder, left, is_list: true }))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let left = self.count()?;
        self.deeper(|decoder| visitor.visit_map(Elements { decoder, left, is_list: true }))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.fields(count, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.fields(count, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.fields(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refusal> {
        refuse("its type must be told by the payload (`untagged`, `flatten`, `tag`), and is not")
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refusal> {
        refuse("the names of its fields must be told by the payload, and are not")
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refusal> {
        refuse("what is to be ignored must be told by the payload, and is not")
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'de> de::EnumAccess<'de> for &mut Decoder<'de> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refusal> {
        let Ok(number) = u32::try_from(self.unsigned()?) else {
            return refuse("a number is too large for its type");
        };
        Ok((seed.deserialize(number.into_deserializer())?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Decoder<'de> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refusal> {
        self.deeper(|decoder| seed.deserialize(decoder))
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.fields(count, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refusal> {
        self.fields(fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::wire::codec::{decode, encode};

    /// One variant for each kind of value in serde.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Any {
        Unit,
        Numbers(u8, u16, u32, u64, u128),
        Signed(i8, i16, i32, i64, i128),
        Floats { narrow: f32, wide: f64 },
        Text(String, char, bool),
        Nested(Vec<(Option<Newtype>, ())>),
        Map(BTreeMap<u16, [i8; 3]>),
        Bytes(crate::Blob),
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Newtype(Box<Any>);

    #[derive(Debug, Serialize, Deserialize)]
    struct Chain(Option<Box<Self>>);

    fn values() -> impl Strategy<Value = Any> {
        let leaf = prop_oneof![
            Just(Any::Unit),
            (any::<u8>(), any::<u16>(), any::<u32>(), any::<u64>(), any::<u128>())
                .prop_map(|(a, b, c, d, e)| Any::Numbers(a, b, c, d, e)),
            (0u8..4, 0u16..600, 0u32..70_000, 0u64..5_000_000_000, 0u128..1 << 70)
                .prop_map(|(a, b, c, d, e)| Any::Numbers(a, b, c, d, e)),
            (any::<i8>(), any::<i16>(), any::<i32>(), any::<i64>(), any::<i128>())
                .prop_map(|(a, b, c, d, e)| Any::Signed(a, b, c, d, e)),
            (any::<f32>(), any::<f64>()).prop_map(|(narrow, wide)| Any::Floats { narrow, wide }),
            (any::<String>(), any::<char>(), any::<bool>()).prop_map(|(a, b, c)| Any::Text(a, b, c)),
            prop::collection::btree_map(any::<u16>(), any::<[i8; 3]>(), 0..4).prop_map(Any::Map),
            any::<Vec<u8>>().prop_map(|bytes| Any::Bytes(bytes.into())),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let element = prop::option::of(inner.prop_map(|any| Newtype(Box::new(any))));
            prop::collection::vec((element, Just(())), 0..4).prop_map(Any::Nested)
        })
    }

    fn by_bincode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
        let config = bincode::config::standard().with_limit::<100_000>();
        let (value, used) = bincode::serde::decode_from_slice(bytes, config).ok()?;
        (used == bytes.len()).then_some(value)
    }

    proptest! {
        #[test]
        fn what_bincode_writes_is_read_as_it_was(value in values()) {
            let bytes = encode(&value).unwrap();
            prop_assert_eq!(&decode::<Any>(&bytes, None).unwrap(), &value);
            // A value with bytes cut off, or with bytes left over, must be refused.
            prop_assert!(decode::<Any>(&bytes[..bytes.len() - 1], None).is_err());
            prop_assert!(decode::<Any>(&[&bytes[..], &[0]].concat(), None).is_err());
        }

        #[test]
        fn what_bincode_reads_is_read_the_same(bytes: Vec<u8>) {
            type Value = (Any, HashMap<u8, i32>, Vec<String>);
            if let Some(value) = by_bincode::<Value>(&bytes) {
                // Compared as text, because NaN equals nothing.
                prop_assert_eq!(format!("{:?}", decode::<Value>(&bytes, None).unwrap()), format!("{value:?}"));
            }
        }
    }

    #[test]
    fn a_length_that_is_not_there_is_refused_before_it_costs_anything() {
        let start = std::time::Instant::now();
        for length in [3, 1 << 20, 200 << 20, 1 << 60, u64::MAX] {
            let payload = [&encode(&length).unwrap()[..], b"ab"].concat();
            let refusals = [
                decode::<String>(&payload, None).unwrap_err(),
                decode::<crate::Blob>(&payload, None).unwrap_err(),
                decode::<crate::Secret>(&payload, None).unwrap_err(),
            ];
            for refusal in refusals {
                assert_eq!(refusal, format!("a length of {length}, where 2 bytes are left"));
            }
            assert!(decode::<Vec<u8>>(&payload, None).is_err());
            assert!(decode::<Vec<String>>(&payload, None).is_err());
            assert!(decode::<HashMap<u8, ()>>(&payload, None).is_err());
        }
        // A thousand times 200 MiB of zeros would take a while.
        let payload = encode(&(200u64 << 20)).unwrap();
        for _ in 0..1000 {
            decode::<String>(&payload, None).unwrap_err();
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn elements_that_take_no_bytes_are_counted() {
        let some = vec![(); 1000];
        assert_eq!(decode::<Vec<()>>(&encode(&some).unwrap(), None).unwrap(), some);
        let lists = vec![vec![(); MAX_EMPTY / 2]; 3];
        assert!(decode::<Vec<Vec<()>>>(&encode(&lists[..2]).unwrap(), None).is_ok());
        assert!(decode::<Vec<Vec<()>>>(&encode(&lists).unwrap(), None).is_err());
        for count in [1u64 << 20, 1 << 60] {
            assert!(decode::<Vec<()>>(&encode(&count).unwrap(), None).unwrap_err().starts_with("a list of"));
        }
        // The fields of a struct are not counted as elements.
        let empty = vec![((), (), 7u8); 30_000];
        assert_eq!(decode::<Vec<((), (), u8)>>(&encode(&empty).unwrap(), None).unwrap(), empty);
    }

    #[test]
    fn values_that_lie_too_deep_are_refused_before_the_stack_is_full() {
        let deep = |levels: usize| decode::<Chain>(&[&vec![1; levels][..], &[0]].concat(), None);
        assert!(deep(100).is_ok());
        assert!(deep(1_000_000).unwrap_err().contains("deep in each other"));
    }

    #[test]
    fn numbers_that_do_not_fit_their_type_are_refused() {
        let large = encode(&70_000u64).unwrap();
        assert!(decode::<u16>(&large, None).unwrap_err().contains("too large for its type"));
        assert!(decode::<i16>(&large, None).is_err());
        assert_eq!(decode::<u32>(&large, None).unwrap(), 70_000);
        for reserved in [[254; 17], [255; 17]] {
            assert!(decode::<u64>(&reserved, None).is_err());
        }
        assert!(decode::<bool>(&[2], None).is_err());
        assert!(decode::<char>(&[0xff], None).is_err());
        assert!(decode::<String>(&[1, 0xff], None).is_err());
    }
}
