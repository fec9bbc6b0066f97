//! The body of a request, with a limit for its messages.
//!
//! tonic has such a limit too, but its status does not prove that nothing was executed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::error::reason::Reason;

/// A request's body that fails at the first message over the limit.
#[derive(Debug)]
pub(crate) struct LimitedBody {
    inner: Body,
    prefixes: Prefixes,
    max_message_bytes: usize,
}

impl LimitedBody {
    pub(crate) fn new(inner: Body, max_message_bytes: usize) -> Self {
        Self { inner, prefixes: Prefixes::default(), max_message_bytes }
    }

    fn too_large(&self, bytes: usize) -> Status {
        let limit = self.max_message_bytes;
        Reason::TooLarge.status(format!(
            "a message of {bytes} bytes is over this node's limit of {limit} bytes; send less, or raise the limit on \
             all nodes"
        ))
    }
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else { return Poll::Ready(None) };
        let frame = frame?;
        let largest = frame.data_ref().and_then(|data| self.prefixes.largest(data));
        Poll::Ready(Some(match largest {
            Some(bytes) if bytes > self.max_message_bytes => Err(self.too_large(bytes)),
            _ => Ok(frame),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Follows gRPC's framing: a flag, the length in four bytes, the message.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
#[derive(Debug, Default)]
struct Prefixes {
    prefix: [u8; PREFIX_BYTES],
    /// How many bytes of the prefix have arrived.
    filled: usize,
    /// How many bytes of the message have not arrived yet.
    rest: usize,
}

impl Prefixes {
    /// Returns the length of the largest message whose prefix ends within the data.
    fn largest(&mut self, mut data: &[u8]) -> Option<usize> {
        let mut largest = None;
        loop {
            let skipped = self.rest.min(data.len());
            self.rest -= skipped;
            data = &data[skipped..];
            let Some((first, others)) = data.split_first() else { return largest };
            self.prefix[self.filled] = *first;
            self.filled += 1;
            data = others;
            if self.filled == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.rest = u32::from_be_bytes(length) as usize;
                self.filled = 0;
                largest = largest.max(Some(self.rest));
            }
        }
    }
}

const PREFIX_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        [&[0][..], &length, &vec![7; bytes]].concat()
    }

    #[test]
    fn lengths_are_found_in_any_pieces() {
        let data = [message(3), message(0), message(300)].concat();
        for piece in [1, 2, 3, 5, 7, 64, data.len()] {
            let mut prefixes = Prefixes::default();
            let found: Vec<usize> = data.chunks(piece).filter_map(|data| prefixes.largest(data)).collect();
            assert_eq!(found.iter().max(), Some(&300), "{piece}");
        }
        assert_eq!(Prefixes::default().largest(&message(300)[..4]), None);
    }

    #[tokio::test]
    async fn limit_is_for_each_message() {
        let messages: Vec<u8> = (0..50).flat_map(|_| message(100)).collect();
        let body = LimitedBody::new(Body::new(Full::new(Bytes::from(messages))), 100);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 50 * 105);
    }

    #[tokio::test]
    async fn too_large_message_is_refused() {
        let body = |bytes| LimitedBody::new(Body::new(Full::new(Bytes::from(message(bytes)))), 100);
        assert_eq!(body(100).collect().await.unwrap().to_bytes().len(), 105);
        let status = body(101).collect().await.unwrap_err();
        assert_eq!(Reason::of(&status), Some(Reason::TooLarge));
    }
}
