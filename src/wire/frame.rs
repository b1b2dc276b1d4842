//! Frames: how messages lie on a link. Bytes in, frames out; no I/O.
//!
//! A frame is 32 bytes of header, big-endian, and at most 64 KiB of payload:
//!
//! | bytes | field |
//! |---|---|
//! | 2 | magic `0x4f53` |
//! | 1 | flags: 1 more fragments follow, 2 raw payload, 4 `reply_to` takes one message, 8 to be wiped after use, 16 the payload is an error; in the upper three bits of a dead message the kind of its reason |
//! | 1 | lane |
//! | 4 each | dst, src, auth, handle, reply_to, length |
//! | 4 | time left in ms, 0 for no limit |

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use zeroize::Zeroize;

use crate::wire::codec;
use crate::wire::error::ChannelErrorKind;
use crate::wire::message::{Arrival, ContextId, Handle, Lane, Message};
use crate::wire::write_batch::WriteBatch;

/// Bytes of a header.
pub(crate) const HEADER: usize = 32;
/// The most payload one frame carries.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;
/// A payload of at least this size stays in the buffer that it was read into. A shorter one is
/// copied, because it would keep a large buffer in memory.
const SHARED: usize = 16 * 1024;
const MAGIC: u16 = 0x4f53;

const MORE: u8 = 1;
const RAW: u8 = 2;
const SINGLE_REPLY: u8 = 4;
const SECRET: u8 = 8;
const ERROR: u8 = 16;
/// The position of the three bits for the kind of a dead message.
const DEAD_KIND: u32 = 5;

/// One frame: a message or a fragment of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The fields of the header. `data` is the payload of this frame.
    pub(crate) part: Message,
    /// Whether more fragments of the same message follow.
    pub(crate) more: bool,
}

/// The reason why the bytes of a link are not frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(
        "corruption detected: frame signature incorrect, which means that something else writes to this connection; received: {0}"
    )]
    Signature(String),
    #[error("corruption detected: unknown lane {0}")]
    Lane(u8),
    #[error("corruption detected: frame of {0} bytes (max {MAX_PAYLOAD})")]
    Length(u32),
}

/// Appends the frame to `out`.
pub(crate) fn encode(part: &Message, payload: Bytes, more: bool, now: Instant, out: &mut WriteBatch) {
    debug_assert!(payload.len() <= MAX_PAYLOAD);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(more, MORE)
        | flag(part.raw, RAW)
        | flag(part.single_reply, SINGLE_REPLY)
        | flag(part.secret, SECRET)
        | flag(part.error, ERROR)
        | flag(part.is_dead(), (part.dead_kind as u8) << DEAD_KIND);
    // 0 means "no limit", so a deadline that has passed is sent as 1 ms.
    let left = part.deadline.map_or(0, |deadline| {
        u32::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX).max(1)
    });
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_PAYLOAD")]
    let length = payload.len() as u32;
    let [high, low] = MAGIC.to_be_bytes();
    let first = u32::from_be_bytes([high, low, flags, part.lane as u8]);
    let words = [first, part.dst.0, part.src.0, part.auth.0, part.handle.0, part.reply_to.0, length, left];
    let mut header = [0; HEADER];
    for (place, word) in header.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    out.push(&header, payload, part.secret);
}

/// Memory for the payloads of small frames. Many of them share one piece of it, so that most frames cost no allocation. A
/// piece is small, because a payload that is kept for long keeps all of its piece.
#[derive(Debug, Default)]
pub(crate) struct Pieces(BytesMut);

impl Pieces {
    /// Payloads of at most this many bytes share a piece.
    const SMALL: usize = 128;
    const PIECE: usize = 2048;

    fn copy(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() > Self::SMALL {
            return Bytes::copy_from_slice(payload);
        }
        if self.0.capacity() < payload.len() {
            // Reuses the same memory if no payload refers to it any more.
            self.0.reserve(Self::PIECE);
        }
        self.0.extend_from_slice(payload);
        self.0.split().freeze()
    }
}

/// Removes the first frame from the front of `input`, and returns it.
///
/// Returns `None` if `input` does not contain a whole frame yet. A wrong header is refused as soon
/// as it is complete, before its payload has come.
pub(crate) fn decode(input: &mut BytesMut, pieces: &mut Pieces, now: Instant) -> Result<Option<Frame>, FrameError> {
    let mark = input.len().min(2);
    if input[..mark] != MAGIC.to_be_bytes()[..mark] {
        let shown = &input[..input.len().min(256)];
        return Err(FrameError::Signature(shown.escape_ascii().to_string()));
    }
    let Some((header, rest)) = input.split_at_checked(HEADER) else {
        return Ok(None);
    };
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let lane = match header[3] {
        0 => Lane::Control,
        1 => Lane::User,
        2 => Lane::Log,
        other => return Err(FrameError::Lane(other)),
    };
    let length = word(24);
    if length as usize > MAX_PAYLOAD {
        return Err(FrameError::Length(length));
    }
    if rest.len() < length as usize {
        return Ok(None);
    }
    let flags = header[2];
    let left = word(28);
    let mut part = Message {
        dst: ContextId(word(4)),
        src: ContextId(word(8)),
        auth: ContextId(word(12)),
        handle: Handle(word(16)),
        reply_to: Handle(word(20)),
        deadline: (left != 0).then(|| now + Duration::from_millis(left.into())),
        raw: flags & RAW != 0,
        single_reply: flags & SINGLE_REPLY != 0,
        secret: flags & SECRET != 0,
        error: flags & ERROR != 0,
        dead_kind: ChannelErrorKind::from_bits(flags >> DEAD_KIND),
        lane,
        on_behalf: None,
        arrival: Arrival::default(),
        data: Bytes::new(),
    };
    input.advance(HEADER);
    part.data = if part.secret {
        let mut there = input.split_to(length as usize);
        let data = codec::wiped(there.to_vec());
        there.zeroize();
        data
    } else if length as usize >= SHARED {
        input.split_to(length as usize).freeze()
    } else {
        let copy = pieces.copy(&input[..length as usize]);
        input.advance(length as usize);
        copy
    };
    Ok(Some(Frame { part, more: flags & MORE != 0 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::io::IoSlice;

    use super::*;
    use crate::wire::write_batch::SLICES;

    fn sample(data: &'static [u8]) -> Message {
        Message {
            dst: ContextId(1),
            src: ContextId(0),
            handle: Handle(2),
            reply_to: Handle(3),
            data: Bytes::from_static(data),
            ..Message::default()
        }
    }

    fn encoded(message: &Message, more: bool, now: Instant) -> Vec<u8> {
        let mut out = WriteBatch::default();
        encode(message, message.data.clone(), more, now, &mut out);
        out.to_vec()
    }

    fn decoded(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        decode(&mut BytesMut::from(bytes), &mut Pieces::default(), Instant::now())
    }

    #[test]
    fn each_field_stands_at_its_offset() {
        let mut message = sample(b"hello");
        message.auth = ContextId(9);
        message.raw = true;
        let expected = [
            0x4f, 0x53, 3, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, b'h',
            b'e', b'l', b'l', b'o',
        ];
        assert_eq!(encoded(&message, true, Instant::now()), expected);
        assert_eq!(HEADER, expected.len() - 5);
    }

    #[test]
    fn a_secret_is_marked_and_lies_in_no_buffer_but_its_own() {
        let message = Message { secret: true, data: codec::wiped(b"hunter2".to_vec()), ..sample(b"") };
        let mut out = WriteBatch::default();
        encode(&message, message.data.clone(), false, Instant::now(), &mut out);
        let mut slices = [IoSlice::new(&[]); SLICES];
        assert_eq!(out.slices(0, &mut slices)[1].as_ptr(), message.data.as_ptr());
        assert_eq!(out.to_vec()[2], SECRET);
        let part = decoded(&out.to_vec()).unwrap().unwrap().part;
        assert!(part.secret && part.data == message.data);
    }

    #[test]
    fn frames_split_at_every_byte_parse_identically() {
        let now = Instant::now();
        let payloads = [&b""[..], b"x", b"a longer payload"];
        let bytes: Vec<u8> = payloads.iter().flat_map(|data| encoded(&sample(data), false, now)).collect();
        for cut in 0..bytes.len() {
            let (mut held, mut frames) = (BytesMut::from(&bytes[..cut]), Vec::new());
            for rest in [&bytes[cut..], b""] {
                while let Some(frame) = decode(&mut held, &mut Pieces::default(), now).unwrap() {
                    frames.push(frame.part.data);
                }
                held.extend_from_slice(rest);
            }
            assert_eq!(frames, payloads, "cut at {cut}");
        }
    }

    #[test]
    fn noise_is_refused_at_its_first_byte() {
        let error = decoded(b"x").unwrap_err();
        assert!(error.to_string().contains("signature incorrect"), "{error}");
        assert!(decoded(b"").unwrap().is_none());
    }

    #[test]
    fn an_endless_frame_is_refused_before_its_payload_comes() {
        let mut bytes = encoded(&sample(b""), false, Instant::now());
        bytes[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(decoded(&bytes), Err(FrameError::Length(u32::MAX)));
    }

    #[test]
    fn the_time_left_shrinks_by_the_time_a_hop_held_it() {
        let now = Instant::now();
        let mut message = sample(b"");
        message.deadline = Some(now + Duration::from_millis(500));
        assert_eq!(encoded(&message, false, now + Duration::from_millis(200))[28..32], 300u32.to_be_bytes());
        assert_eq!(encoded(&message, false, now + Duration::from_secs(2))[28..32], 1u32.to_be_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = decoded(&bytes);
        }

        #[test]
        fn what_is_encoded_is_decoded(
            dst: u32, src: u32, auth: u32, handle: u32, reply in prop_oneof![any::<u32>(), Just(999)],
            raw: bool, more: bool, error: bool, kind: u8,
            size in prop_oneof![0..100usize, SHARED - 2..SHARED + 2, MAX_PAYLOAD..=MAX_PAYLOAD],
        ) {
            let dead_kind = if reply == 999 { ChannelErrorKind::from_bits(kind) } else { ChannelErrorKind::default() };
            let message = Message {
                dst: ContextId(dst), src: ContextId(src), auth: ContextId(auth), handle: Handle(handle),
                reply_to: Handle(reply), raw, error, dead_kind, data: vec![7; size].into(), ..Message::default()
            };
            let mut bytes = BytesMut::from(&encoded(&message, more, Instant::now())[..]);
            bytes.extend_from_slice(b"rest");
            let frame = decode(&mut bytes, &mut Pieces::default(), Instant::now()).unwrap().unwrap();
            prop_assert_eq!(&bytes[..], b"rest");
            prop_assert_eq!(frame, Frame { part: message, more });
        }
    }
}
