//! As much of gRPC over HTTP/2 as two unary methods need: frames, and protobuf messages with string and enum fields.

use bytes::{BufMut, Bytes, BytesMut};

/// Path of the health check (`grpc.health.v1`).
pub const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// Path of our echo method: empty request, answered with a [`Who`].
pub const WHO: &str = "/smilax.test.Echo/Who";

/// Who answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The server's name; field 1.
    pub name: String,
    /// Its pod; field 2.
    pub pod: String,
}

/// Bytes that are no gRPC message of the expected shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than it says, or a length of more than 32 bits.
    #[error("message is truncated")]
    Truncated,
    /// The compressed flag is set.
    #[error("message is compressed, which was not agreed")]
    Compressed,
    /// A wire type that these messages do not use.
    #[error("field has wire type {0}, expected 0 or 2")]
    WireType(u64),
}

/// A length-prefixed message: flag 0, four bytes of length, the message.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The message in a frame.
///
/// # Errors
/// When it is truncated or compressed.
pub fn unframe(framed: &[u8]) -> Result<&[u8], Malformed> {
    let (head, rest) = framed.split_at_checked(5).ok_or(Malformed::Truncated)?;
    let (flag, length) = head.split_at(1);
    if flag != [0] {
        return Err(Malformed::Compressed);
    }
    let length: [u8; 4] = length.try_into().map_err(|_| Malformed::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Malformed::Truncated)?;
    rest.get(..length).ok_or(Malformed::Truncated)
}

/// `HealthCheckResponse` with status SERVING (1) or NOT_SERVING (2).
pub fn health(serving: bool) -> Vec<u8> {
    vec![0x08, if serving { 1 } else { 2 }]
}

impl Who {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        put_string(&mut message, 1, &self.name);
        put_string(&mut message, 2, &self.pod);
        message
    }

    /// From protobuf; unknown fields are skipped.
    ///
    /// # Errors
    /// When the bytes are no such message.
    pub fn decode(mut message: &[u8]) -> Result<Self, Malformed> {
        let mut who = Self::default();
        while !message.is_empty() {
            let key = take_varint(&mut message)?;
            match key & 7 {
                0 => {
                    take_varint(&mut message)?;
                }
                2 => {
                    let length =
                        usize::try_from(take_varint(&mut message)?).map_err(|_| Malformed::Truncated)?;
                    let (value, rest) = message.split_at_checked(length).ok_or(Malformed::Truncated)?;
                    message = rest;
                    let value = String::from_utf8_lossy(value).into_owned();
                    match key >> 3 {
                        1 => who.name = value,
                        2 => who.pod = value,
                        _ => {}
                    }
                }
                other => return Err(Malformed::WireType(other)),
            }
        }
        Ok(who)
    }
}

fn put_string(message: &mut Vec<u8>, field: u64, value: &str) {
    put_varint(message, field << 3 | 2);
    put_varint(message, value.len() as u64);
    message.extend_from_slice(value.as_bytes());
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push((value & 0x7f) as u8);
}

fn take_varint(message: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first().ok_or(Malformed::Truncated)?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn who_is_read_as_it_was_written(name in ".{0,200}", pod in ".{0,20}") {
            let who = Who { name, pod };
            let framed = frame(&who.encode());
            prop_assert_eq!(Who::decode(unframe(&framed).unwrap()), Ok(who));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Who::decode(&bytes);
            let _ = unframe(&bytes);
        }
    }

    #[test]
    fn a_frame_shorter_than_its_length_is_refused() {
        assert_eq!(unframe(&[0, 0, 0, 0, 9, 1]), Err(Malformed::Truncated));
        assert_eq!(unframe(&[1, 0, 0, 0, 0]), Err(Malformed::Compressed));
    }
}
