//! A watch's answer, line by line, each of them bounded.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::client::ApiClient;
use super::error::ApiError;

pub(super) struct Lines {
    body: Body,
    waiting: BytesMut,
    /// Of `waiting`, how much is known to hold no end of a line.
    searched: usize,
    bytes_max: usize,
}

impl Lines {
    pub(super) fn new(body: Body, bytes_max: usize) -> Self {
        Self { body, waiting: BytesMut::new(), searched: 0, bytes_max }
    }

    /// `None` at the end.
    ///
    /// # Errors
    /// When nothing comes for `idle`, or a line is too long.
    pub(super) async fn next(
        &mut self,
        client: &ApiClient,
        idle: Duration,
    ) -> Result<Option<BytesMut>, ApiError> {
        loop {
            if let Some(at) = self.waiting[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.waiting.split_to(self.searched + at);
                self.waiting.advance(1);
                self.searched = 0;
                if !line.iter().all(u8::is_ascii_whitespace) {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.waiting.len();
            if self.searched > self.bytes_max {
                let cause = format!("one event has more than {} bytes", self.bytes_max);
                return Err(ApiError::Malformed(cause));
            }
            let frame = tokio::time::timeout(idle, self.body.frame()).await;
            match frame.map_err(|_| ApiError::Unreachable("the watch fell silent".into()))? {
                // Half a line at the end is as good as none.
                None => return Ok(None),
                Some(Err(error)) => return Err(client.unreachable(&error)),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.waiting.extend_from_slice(&piece);
                    }
                }
            }
        }
    }
}
