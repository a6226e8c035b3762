//! Frames of RFC 6455 section 5.2.

pub(super) const FIN: u8 = 0x80;
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Whether a frame is masked, as those of clients have to be.
#[derive(Clone, Copy)]
pub(super) enum Mask {
    Absent,
    Key([u8; 4]),
}

pub(super) const MASKS: [Mask; 2] = [Mask::Key([0x37, 0xfa, 0x21, 0x3d]), Mask::Absent];

/// A frame of RFC 6455 section 5.2. `first` holds FIN, the reserved bits and the opcode.
pub(super) fn frame(first: u8, mask: Mask, payload: &[u8]) -> Vec<u8> {
    let masked = match mask {
        Mask::Absent => 0,
        Mask::Key(_) => 0x80,
    };
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => bytes.push(masked | length),
        (_, Ok(length)) => {
            bytes.push(masked | 0x7e);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(masked | 0x7f);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    match mask {
        Mask::Absent => bytes.extend_from_slice(payload),
        Mask::Key(key) => {
            bytes.extend(key);
            bytes.extend(
                payload
                    .iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
        }
    }
    bytes
}

/// The same frames masked and unmasked.
pub(super) fn either(first: u8, payload: &[u8]) -> [Vec<u8>; 2] {
    MASKS.map(|mask| frame(first, mask, payload))
}
