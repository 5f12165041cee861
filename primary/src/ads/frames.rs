//! From a response's chunks to frames: the gRPC head in front, large chunks as they are.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::limit;

/// Bytes on their way out, in order.
#[derive(Debug, Default)]
pub(super) struct Frames(VecDeque<Bytes>);

impl Frames {
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.0.pop_front()
    }

    /// Adds one message and returns its length. Small chunks are copied together: a frame each
    /// would cost more than the copy.
    pub(super) fn push(&mut self, chunks: &[Bytes]) -> usize {
        let total: usize = chunks.iter().map(Bytes::len).sum();
        let small: usize =
            chunks.iter().map(Bytes::len).filter(|bytes| *bytes < limit::COPY_BYTES_MAX).sum();
        let mut gathered = BytesMut::with_capacity(HEAD_BYTES + small.min(limit::FRAME_BYTES));
        gathered.put_u8(UNCOMPRESSED);
        // Beyond 4 GiB gRPC has no messages; the xds crate bounds responses far below.
        gathered.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
        for chunk in chunks {
            if chunk.len() >= limit::COPY_BYTES_MAX {
                self.flush(&mut gathered);
                self.0.push_back(chunk.clone());
            } else {
                gathered.extend_from_slice(chunk);
                if gathered.len() >= limit::FRAME_BYTES {
                    self.flush(&mut gathered);
                }
            }
        }
        self.flush(&mut gathered);
        total
    }

    fn flush(&mut self, gathered: &mut BytesMut) {
        if !gathered.is_empty() {
            self.0.push_back(gathered.split().freeze());
        }
    }
}

/// gRPC: one byte of flags, four of length.
const HEAD_BYTES: usize = 5;
const UNCOMPRESSED: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(chunks: &[Bytes]) -> Vec<Bytes> {
        let mut frames = Frames::default();
        frames.push(chunks);
        std::iter::from_fn(|| frames.pop()).collect()
    }

    #[test]
    fn frames_add_up_to_the_head_and_the_message() {
        let large = Bytes::from(vec![7; limit::COPY_BYTES_MAX]);
        let chunks = [Bytes::from_static(b"ab"), large.clone(), Bytes::from_static(b"c")];
        let frames = frames_of(&chunks);
        let total = u32::try_from(3 + large.len()).unwrap();
        let mut expected = vec![0];
        expected.extend_from_slice(&total.to_be_bytes());
        chunks.iter().for_each(|chunk| expected.extend_from_slice(chunk));
        assert_eq!(frames.concat(), expected);
    }

    #[test]
    fn a_large_chunk_is_shared_and_a_small_message_is_one_frame() {
        let large = Bytes::from(vec![7; limit::COPY_BYTES_MAX]);
        let frames = frames_of(&[Bytes::from_static(b"ab"), large.clone()]);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].as_ptr(), large.as_ptr(), "not copied");

        let one_less = large.slice(1..);
        assert_eq!(frames_of(&[Bytes::from_static(b"ab"), one_less]).len(), 1);
        assert_eq!(frames_of(&[]).concat(), [0, 0, 0, 0, 0]);
    }

    #[test]
    fn many_small_chunks_make_frames_of_bounded_size() {
        let chunks = vec![Bytes::from(vec![1; 1000]); 200];
        let frames = frames_of(&chunks);
        assert!(frames.iter().all(|frame| frame.len() <= limit::FRAME_BYTES + 1000));
        assert_eq!(frames.iter().map(Bytes::len).sum::<usize>(), 200_005);
    }
}
