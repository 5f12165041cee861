//! The fields of a ClientHello (RFC 8446, section 4.1.2), read across record boundaries.
//!
//! Only server_name and ALPN are looked into; of every other extension only its length must fit and
//! its type must be new. What they say is between the two ends of the connection.

use std::net::IpAddr;

use crate::limit::NAME_BYTES_MAX;
use crate::{HostName, Refusal};

const RECORD_HEADER_BYTES: usize = 5;
const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const NAME_TYPE_HOST_NAME: u8 = 0;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Absent also when an address stands in its place (RFC 6066 does not allow one).
    pub sni: Option<HostName>,
    pub alpn: Alpn,
}

impl ClientHello {
    pub(crate) fn offers_one_of<A: AsRef<[u8]>>(&self, accepted: &[A]) -> bool {
        let is_accepted = |offered: &[u8]| accepted.iter().any(|one| one.as_ref() == offered);
        self.alpn.iter().any(is_accepted)
    }
}

/// The protocols offered, in the client's order, kept as they came: each with its length before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alpn(Vec<u8>);

impl Alpn {
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first()?;
            let (protocol, tail) = tail.split_at_checked(usize::from(*length))?;
            rest = tail;
            Some(protocol)
        })
    }
}

impl<'a> FromIterator<&'a str> for Alpn {
    /// For tests and callers that build a hello; what is empty or over 255 bytes is left out.
    fn from_iter<I: IntoIterator<Item = &'a str>>(protocols: I) -> Self {
        let mut list = Vec::new();
        for protocol in protocols {
            if let Ok(length @ 1..) = u8::try_from(protocol.len()) {
                list.push(length);
                list.extend_from_slice(protocol.as_bytes());
            }
        }
        Self(list)
    }
}

/// Reads the message whose records begin at `records` and whose body is `length` bytes.
/// The reader has seen that all of it is there and that every record is a handshake record.
pub(crate) fn parse(records: &[u8], length: usize) -> Result<ClientHello, Refusal> {
    let mut message = Fields { bytes: Records { rest: records, record: &[] }, left: 4 + length };
    message.skip(4)?;
    if message.u8()? != 3 {
        return Err(Refusal::HelloVersion);
    }
    message.skip(1 + RANDOM_BYTES)?;
    let session_id = message.u8()?.into();
    if session_id > SESSION_ID_BYTES_MAX {
        return Err(Refusal::Lengths);
    }
    message.skip(session_id)?;
    let cipher_suites = message.u16()?.into();
    if cipher_suites == 0 || cipher_suites % 2 != 0 {
        return Err(Refusal::Lengths);
    }
    message.skip(cipher_suites)?;
    let compressions = message.u8()?.into();
    if compressions == 0 {
        return Err(Refusal::Lengths);
    }
    message.skip(compressions)?;
    if message.left == 0 {
        return Ok(ClientHello::default());
    }
    let length = message.u16()?.into();
    let extensions = message.take(length)?;
    message.end()?;
    parse_extensions(extensions)
}

fn parse_extensions(mut extensions: Fields<'_>) -> Result<ClientHello, Refusal> {
    let mut hello = ClientHello::default();
    let mut seen = [0u64; (u16::MAX as usize + 1) / 64];
    while extensions.left > 0 {
        let kind = extensions.u16()?;
        let length = extensions.u16()?.into();
        let body = extensions.take(length)?;
        let (word, bit) = (usize::from(kind / 64), 1 << (kind % 64));
        if seen[word] & bit != 0 {
            return Err(Refusal::DuplicateExtension);
        }
        seen[word] |= bit;
        match kind {
            EXTENSION_SERVER_NAME => hello.sni = parse_server_name(body)?,
            EXTENSION_ALPN => hello.alpn = parse_alpn(body)?,
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066, section 3. Other name types are not defined, and a second name is forbidden.
fn parse_server_name(mut body: Fields<'_>) -> Result<Option<HostName>, Refusal> {
    let shape = |_| Refusal::SniShape;
    let list = body.u16().map_err(shape)?;
    if usize::from(list) != body.left || body.u8().map_err(shape)? != NAME_TYPE_HOST_NAME {
        return Err(Refusal::SniShape);
    }
    let length: usize = body.u16().map_err(shape)?.into();
    if length != body.left {
        return Err(Refusal::SniShape);
    }
    let mut name = [0; NAME_BYTES_MAX];
    let name = name.get_mut(..length).ok_or(Refusal::NameTooLong)?;
    for byte in name.iter_mut() {
        *byte = body.u8()?;
    }
    let address = std::str::from_utf8(name).ok().and_then(|text| text.parse::<IpAddr>().ok());
    match address {
        Some(_) => Ok(None),
        None => HostName::new(name).map(Some),
    }
}

/// RFC 7301, section 3.1: a list that is not empty of names that are not empty.
fn parse_alpn(mut body: Fields<'_>) -> Result<Alpn, Refusal> {
    let shape = |_| Refusal::AlpnShape;
    let list: usize = body.u16().map_err(shape)?.into();
    if list != body.left || list == 0 {
        return Err(Refusal::AlpnShape);
    }
    let mut protocols = Vec::with_capacity(list);
    while body.left > 0 {
        let length = body.u8()?;
        if length == 0 || usize::from(length) > body.left {
            return Err(Refusal::AlpnShape);
        }
        protocols.push(length);
        for _ in 0..length {
            protocols.push(body.u8()?);
        }
    }
    Ok(Alpn(protocols))
}

/// A field's bytes: a place in the records and how many bytes from there belong to it.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: Records<'a>,
    left: usize,
}

impl Fields<'_> {
    fn u8(&mut self) -> Result<u8, Refusal> {
        self.left = self.left.checked_sub(1).ok_or(Refusal::Lengths)?;
        self.bytes.next().ok_or(Refusal::Lengths)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn skip(&mut self, count: usize) -> Result<(), Refusal> {
        self.take(count).map(|_| ())
    }

    /// The next `count` bytes as a field of their own.
    fn take(&mut self, count: usize) -> Result<Self, Refusal> {
        let field = Self { bytes: self.bytes, left: count };
        self.left = self.left.checked_sub(count).ok_or(Refusal::Lengths)?;
        self.bytes.skip_bytes(count);
        Ok(field)
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.left == 0 { Ok(()) } else { Err(Refusal::Lengths) }
    }
}

/// The contents of consecutive records as one stream of bytes.
#[derive(Clone, Copy)]
struct Records<'a> {
    record: &'a [u8],
    rest: &'a [u8],
}

impl Records<'_> {
    fn next(&mut self) -> Option<u8> {
        while self.record.is_empty() {
            self.open()?;
        }
        let (byte, record) = self.record.split_first()?;
        self.record = record;
        Some(*byte)
    }

    fn skip_bytes(&mut self, mut count: usize) {
        while count > self.record.len() {
            count -= self.record.len();
            self.record = &[];
            if self.open().is_none() {
                return;
            }
        }
        self.record = self.record.get(count..).unwrap_or_default();
    }

    fn open(&mut self) -> Option<()> {
        let (header, rest) = self.rest.split_at_checked(RECORD_HEADER_BYTES)?;
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // The last record may not be all here yet; the message in it is.
        (self.record, self.rest) = rest.split_at(length.min(rest.len()));
        Some(())
    }
}
