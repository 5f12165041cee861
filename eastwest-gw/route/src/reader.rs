//! The incremental reader: records into one message, and nothing beyond the cap.

use crate::limit::{HELLO_BYTES_MAX, RECORD_BYTES_MAX};
use crate::{ClientHello, Refusal, hello};

const TYPE_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER_BYTES: usize = 4;
const RECORD_HEADER_BYTES: usize = 5;
const GROWTH_BYTES: usize = 1024;

/// What the bytes so far are. Any cutting of the same bytes comes to the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So far the beginning of an acceptable hello.
    NeedMore,
    /// Never going to be one, whatever follows.
    NotTls(Refusal),
    Hello(ClientHello),
}

/// Reads a ClientHello and keeps the bytes as they came.
///
/// A caller that feeds at most [`HelloReader::room`] bytes at a time never makes it hold more than
/// [`HELLO_BYTES_MAX`]. What is fed beyond the hello's end is kept for the replay.
#[derive(Debug, Default)]
pub struct HelloReader {
    held: Vec<u8>,
    /// How far `held` has been walked, all of it by the end of each `feed` without an answer.
    walked: usize,
    record: Record,
    /// Bytes of the handshake message walked so far, and its header's.
    message_walked: usize,
    message_header: [u8; MESSAGE_HEADER_BYTES],
    answer: Option<Progress>,
}

#[derive(Clone, Copy, Debug)]
enum Record {
    Header { walked: usize, length_high: u8 },
    Body { left: usize },
}

impl Default for Record {
    fn default() -> Self {
        Self::Header { walked: 0, length_high: 0 }
    }
}

impl HelloReader {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many more bytes may be fed before the cap.
    pub fn room(&self) -> usize {
        HELLO_BYTES_MAX.saturating_sub(self.held.len())
    }

    /// How many bytes it keeps.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// An answer other than `NeedMore` is final; bytes fed after `NotTls` are dropped.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        match &self.answer {
            Some(Progress::NotTls(_)) => {}
            Some(_) => self.held.extend_from_slice(bytes),
            None => {
                let (within, beyond) = bytes.split_at(bytes.len().min(self.room()));
                self.make_room(within.len());
                self.held.extend_from_slice(within);
                match self.walk() {
                    Ok(None) => return Progress::NeedMore,
                    Ok(Some(hello)) => {
                        self.held.extend_from_slice(beyond);
                        self.answer = Some(Progress::Hello(hello));
                    }
                    Err(refusal) => self.answer = Some(Progress::NotTls(refusal)),
                }
            }
        }
        self.answer.clone().unwrap_or(Progress::NeedMore)
    }

    /// Everything fed, unmodified.
    pub fn bytes(&self) -> &[u8] {
        &self.held
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.held
    }

    /// In small steps: whoever sends a long beginning and no end must not be given twice of it.
    fn make_room(&mut self, more: usize) {
        let wanted = (self.held.len() + more).next_multiple_of(GROWTH_BYTES);
        if wanted > self.held.capacity() {
            self.held.reserve_exact(wanted - self.held.len());
        }
    }

    fn walk(&mut self) -> Result<Option<ClientHello>, Refusal> {
        while let Some(&byte) = self.held.get(self.walked) {
            match self.record {
                Record::Header { walked, length_high } => {
                    self.walked += 1;
                    self.record = self.header_byte(walked, length_high, byte)?;
                }
                Record::Body { left } => {
                    if let Some(hello) = self.body(left, byte)? {
                        return Ok(Some(hello));
                    }
                }
            }
        }
        if self.walked >= HELLO_BYTES_MAX { Err(Refusal::HelloTooLarge) } else { Ok(None) }
    }

    fn header_byte(&self, walked: usize, length_high: u8, byte: u8) -> Result<Record, Refusal> {
        match walked {
            0 if byte != TYPE_HANDSHAKE && self.walked == 1 => Err(Refusal::NotHandshake),
            0 if byte != TYPE_HANDSHAKE => Err(Refusal::Interleaved),
            1 if byte != 3 => Err(Refusal::RecordVersion),
            3 => Ok(Record::Header { walked: 4, length_high: byte }),
            RECORD_HEADER_LAST => match u16::from_be_bytes([length_high, byte]).into() {
                0 => Err(Refusal::RecordEmpty),
                length if length > RECORD_BYTES_MAX => Err(Refusal::RecordTooLong),
                length => Ok(Record::Body { left: length }),
            },
            _ => Ok(Record::Header { walked: walked + 1, length_high }),
        }
    }

    fn body(&mut self, left: usize, byte: u8) -> Result<Option<ClientHello>, Refusal> {
        if self.message_walked < MESSAGE_HEADER_BYTES {
            self.message_header[self.message_walked] = byte;
            self.step(left, 1);
            self.check_message_header()?;
        } else {
            let missing = MESSAGE_HEADER_BYTES + self.message_length() - self.message_walked;
            let here = self.held.len() - self.walked;
            self.step(left, left.min(missing).min(here));
        }
        let all = MESSAGE_HEADER_BYTES + self.message_length();
        if self.message_walked < MESSAGE_HEADER_BYTES || self.message_walked < all {
            return Ok(None);
        }
        match self.record {
            Record::Body { .. } => Err(Refusal::Trailing),
            Record::Header { .. } => hello::parse(&self.held, self.message_length()).map(Some),
        }
    }

    fn step(&mut self, left: usize, count: usize) {
        self.walked += count;
        self.message_walked += count;
        self.record =
            if left == count { Record::default() } else { Record::Body { left: left - count } };
    }

    fn check_message_header(&self) -> Result<(), Refusal> {
        if self.message_header[0] != MESSAGE_CLIENT_HELLO {
            return Err(Refusal::NotClientHello);
        }
        let whole = RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES + self.message_length();
        if self.message_walked == MESSAGE_HEADER_BYTES && whole > HELLO_BYTES_MAX {
            return Err(Refusal::HelloTooLarge);
        }
        Ok(())
    }

    fn message_length(&self) -> usize {
        let [_, high, middle, low] = self.message_header;
        u32::from_be_bytes([0, high, middle, low]) as usize
    }
}

const RECORD_HEADER_LAST: usize = RECORD_HEADER_BYTES - 1;
