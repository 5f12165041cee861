//! The first bytes of a connection: for whom it comes, where somebody has to say so, and its hello.

use std::sync::Arc;
use std::time::Instant;

use diolkos_ops::metrics::Gauged;
use diolkos_ops::{Full, Place};
use diolkos_route::limit::PROXY_HEADER_BYTES_MAX;
use diolkos_route::proxy::{self, ProxyHeader};
use diolkos_route::{ClientHello, HelloReader, Progress};

use super::side::Side;
use crate::End;
use crate::access::Access;
use crate::limit::LONG_HELLO_BYTES;
use crate::shared::{Door, Shared};

/// Of a connection whose hello is not complete. It holds the bytes that came, and no buffer.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) door: Arc<Door>,
    pub(super) until: Instant,
    /// What came of the PROXY header, while that is awaited.
    header: Option<Vec<u8>>,
    reader: HelloReader,
    waiting: Option<Waiting>,
}

/// A place among those who are waited for. Who sends its hello at once never takes one.
#[derive(Debug)]
struct Waiting {
    place: Place,
    long: Option<Place>,
    _counted: Gauged,
}

#[derive(Debug)]
pub(super) enum Heard {
    /// Not all of it.
    More,
    Hello(ClientHello, Vec<u8>),
    /// Closed.
    Ended(End),
    /// Reset, without a line in the log.
    Shed(End),
}

impl Awaited {
    pub(super) fn new(door: &Arc<Door>, announces: bool, until: Instant) -> Self {
        Self {
            door: Arc::clone(door),
            until,
            header: announces.then(Vec::new),
            reader: HelloReader::new(),
            waiting: None,
        }
    }

    pub(super) fn read(
        &mut self,
        client: &mut Side,
        access: &mut Access,
        shared: &Shared,
        scratch: &mut [u8],
    ) -> Heard {
        while client.readable {
            let room = self.room();
            let read = match client.recv(&mut scratch[..room]) {
                Ok(Some(0)) | Err(_) => return Heard::Ended(End::HelloClosed),
                Ok(Some(read)) => read,
                Ok(None) => break,
            };
            let bytes = match self.header.take() {
                None => &scratch[..read],
                Some(header) => match self.announced(header, &scratch[..read], access, shared) {
                    Ok(None) => continue,
                    Ok(Some(followed)) => &scratch[read - followed..read],
                    Err(heard) => return heard,
                },
            };
            if bytes.is_empty() {
                continue;
            }
            match self.reader.feed(bytes) {
                Progress::NeedMore => {}
                Progress::NotTls(refusal) => return Heard::Ended(End::Refused(refusal)),
                Progress::Hello(hello) => {
                    return Heard::Hello(hello, std::mem::take(&mut self.reader).into_bytes());
                }
            }
        }
        match self.wait(access, shared) {
            Ok(()) => Heard::More,
            Err(full) => Heard::Shed(End::from(full)),
        }
    }

    fn room(&self) -> usize {
        match &self.header {
            None => self.reader.room(),
            Some(header) => PROXY_HEADER_BYTES_MAX - header.len(),
        }
    }

    /// How many of the new bytes follow the header; `None` while it is not complete.
    fn announced(
        &mut self,
        mut header: Vec<u8>,
        new: &[u8],
        access: &mut Access,
        shared: &Shared,
    ) -> Result<Option<usize>, Heard> {
        header.extend_from_slice(new);
        let (length, source) = match proxy::read(&header) {
            ProxyHeader::NeedMore => {
                self.header = Some(header);
                return Ok(None);
            }
            ProxyHeader::Refused(why) => {
                tracing::debug!(peer = %access.peer(), %why, "PROXY header refused");
                return Err(Heard::Ended(End::ProxyHeader));
            }
            ProxyHeader::Complete { length, source } => (length, source),
        };
        if let Some(source) = source {
            access.announced(source);
            if shared.unknown.is_shut_out(source.ip()) {
                return Err(Heard::Shed(End::SourceShutOut));
            }
            if let Some(waiting) = &mut self.waiting {
                let whose = waiting.place.is_of(source.ip());
                whose.map_err(|full| Heard::Shed(End::from(full)))?;
            }
        }
        Ok(Some(header.len() - length))
    }

    fn wait(&mut self, access: &Access, shared: &Shared) -> Result<(), Full> {
        if self.waiting.is_none() {
            let source = self.header.is_none().then(|| access.peer().ip());
            let place = self.door.pending.admit(source)?;
            let counted = Gauged::new(&shared.metrics.pending);
            self.waiting = Some(Waiting { place, long: None, _counted: counted });
        }
        if let Some(waiting) = &mut self.waiting
            && waiting.long.is_none()
            && self.reader.held() > LONG_HELLO_BYTES
        {
            waiting.long = Some(self.door.long.admit(Some(access.peer().ip()))?);
        }
        Ok(())
    }
}
