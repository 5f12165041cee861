//! As much of HTTP/2 and gRPC as one delta stream needs, and no more.
//!
//! A thousand clients must share one core with the clock that times them: a full HTTP/2 stack would
//! measure itself. Windows are opened wide once, headers are sent without compression, and
//! response headers are not read: a stream that ends is an error, whatever its trailers say.

/// A frame's kind, flags and payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of SETTINGS and PING; of HEADERS and DATA, the end of the stream.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const HEAD_BYTES: usize = 9;
const WINDOW_BYTES: u32 = (1 << 31) - 1;
const FIRST_WINDOW_BYTES: u32 = 65_535;
const STREAM: u32 = 1;

/// The first frame of `bytes`, and how long it is, once all of it is there.
pub(crate) fn first(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let [a, b, c, kind, flags, ..] = *bytes else { return None };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let payload = bytes.get(HEAD_BYTES..HEAD_BYTES + length)?;
    let padding = match (kind, flags & PADDED, payload) {
        (DATA, PADDED, [padding, ..]) => Some(usize::from(*padding)),
        _ => None,
    };
    let payload = match padding {
        Some(padding) => payload.get(1..payload.len().checked_sub(padding)?)?,
        None => payload,
    };
    Some((Frame { kind, flags, payload }, HEAD_BYTES + length))
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("frames are small").to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// All a client says before its first message.
pub(crate) fn preface(path: &str) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, and no server push.
    let mut settings = vec![0, 4];
    settings.extend(WINDOW_BYTES.to_be_bytes());
    settings.extend([0, 2, 0, 0, 0, 0]);
    bytes.extend(frame(SETTINGS, 0, 0, &settings));
    let more = WINDOW_BYTES - FIRST_WINDOW_BYTES;
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
    bytes.extend(frame(HEADERS, END_HEADERS, STREAM, &request_headers(path)));
    bytes
}

/// HPACK: what the static table has by its index, all else as literals that nobody indexes.
fn request_headers(path: &str) -> Vec<u8> {
    const METHOD_POST: u8 = 0x83;
    const SCHEME_HTTPS: u8 = 0x87;
    let mut block = vec![METHOD_POST, SCHEME_HTTPS];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(u8::try_from(value.len()).ok().filter(|&n| n < 127).expect("a short value"));
        block.extend(value.as_bytes());
    };
    literal(&[0x04], path);
    literal(&[0x01], "primary.bench.example");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(&[0x00, 2, b't', b'e'], "trailers");
    block
}

/// A gRPC message in one DATA frame.
pub(crate) fn message(body: &[u8]) -> Vec<u8> {
    let mut payload = vec![0];
    payload.extend(u32::try_from(body.len()).expect("requests are small").to_be_bytes());
    payload.extend(body);
    frame(DATA, 0, STREAM, &payload)
}

/// The first gRPC message of `bytes`, and how long it is with its head.
pub(crate) fn first_message(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let [_, a, b, c, d, ..] = *bytes else { return None };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    Some((bytes.get(5..5 + length)?, 5 + length))
}

/// What of a DeltaDiscoveryResponse an ACK needs, without decoding its resources.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    bytes: &'a [u8],
    pub(crate) type_url: &'a str,
    pub(crate) nonce: &'a str,
    /// The first resource's name.
    pub(crate) first: &'a str,
    pub(crate) resources: usize,
    pub(crate) removed: usize,
}

pub(crate) fn response(mut bytes: &[u8]) -> Option<Response<'_>> {
    let mut response = Response { bytes, ..Response::default() };
    while !bytes.is_empty() {
        let (field, value) = next_field(&mut bytes)?;
        match field {
            2 => {
                if response.resources == 0 {
                    response.first = name_of(value)?;
                }
                response.resources += 1;
            }
            4 => response.type_url = str::from_utf8(value).ok()?,
            5 => response.nonce = str::from_utf8(value).ok()?,
            6 => response.removed += 1,
            _ => {}
        }
    }
    Some(response)
}

impl<'a> Response<'a> {
    /// Each resource's name, and its body without the envelope.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        fields(self.bytes, 2).map(|resource| {
            let name = fields(resource, 3).last().and_then(|name| str::from_utf8(name).ok());
            let any = fields(resource, 2).last().unwrap_or_default();
            (name.unwrap_or_default(), fields(any, 2).last().unwrap_or_default())
        })
    }

    pub(crate) fn each_removed(&self) -> impl Iterator<Item = &'a str> {
        fields(self.bytes, 6).filter_map(|name| str::from_utf8(name).ok())
    }
}

/// The values of one length-delimited field.
fn fields(mut bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    let next = move || (!bytes.is_empty()).then(|| next_field(&mut bytes)).flatten();
    std::iter::from_fn(next).filter_map(move |(field, value)| (field == number).then_some(value))
}

fn name_of(mut resource: &[u8]) -> Option<&str> {
    while !resource.is_empty() {
        if let (3, value) = next_field(&mut resource)? {
            return str::from_utf8(value).ok();
        }
    }
    Some("")
}

/// Number and bytes of a length-delimited field; a number's bytes are empty.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let tag = varint(bytes)?;
    let length = match tag & 7 {
        0 => {
            varint(bytes)?;
            0
        }
        2 => usize::try_from(varint(bytes)?).ok()?,
        _ => return None,
    };
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((tag >> 3, value))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::service::discovery::v3 as discovery;
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message;

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        let bytes = frame(DATA, 0, 1, b"abc");
        for cut in 0..bytes.len() {
            assert_eq!(first(&bytes[..cut]), None, "{cut}");
        }
        let frame = Frame { kind: DATA, flags: 0, payload: b"abc" };
        assert_eq!(first(&bytes), Some((frame, 12)));
    }

    #[test]
    fn padding_is_taken_off() {
        let bytes = frame(DATA, PADDED, 1, &[2, b'a', b'b', 0, 0]);
        assert_eq!(first(&bytes).map(|(frame, _)| frame.payload), Some(&b"ab"[..]));
    }

    #[test]
    fn a_response_gives_what_an_ack_needs() {
        let resource = |name: &str| discovery::Resource {
            name: name.into(),
            version: "v".into(),
            resource: Some(Any { type_url: "of".into(), value: b"body".to_vec() }),
            ..Default::default()
        };
        let message = discovery::DeltaDiscoveryResponse {
            system_version_info: "7".into(),
            resources: vec![resource("one"), resource("two")],
            type_url: "type".into(),
            removed_resources: vec!["three".into()],
            nonce: "nonce".into(),
            ..Default::default()
        };
        let bytes = message.encode_to_vec();
        let read = response(&bytes).unwrap();
        assert_eq!((read.type_url, read.nonce, read.first), ("type", "nonce", "one"));
        assert_eq!((read.resources, read.removed), (2, 1));
        assert_eq!(read.each().collect::<Vec<_>>(), [("one", &b"body"[..]), ("two", b"body")]);
        assert_eq!(read.each_removed().collect::<Vec<_>>(), ["three"]);
        assert_eq!(response(&bytes[..bytes.len() - 1]), None);
    }
}
