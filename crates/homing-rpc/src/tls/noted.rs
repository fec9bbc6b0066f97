//! [`NotedStream`], which notes why TLS broke a connection off.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::causes::Causes;
use crate::tls::{NodeStream, is_of_tls};

/// A connection that notes why TLS broke it off.
///
/// In TLS 1.3 the handshake of a client is complete before the server has looked at its certificate. So the refusal is an
/// error of the first read, and HTTP/2 does not pass on what kind of error that was.
/// <https://www.rfc-editor.org/rfc/rfc8446#section-2>
#[derive(Debug)]
pub(crate) struct NotedStream {
    stream: NodeStream,
    failure: TlsFailure,
}

/// Why TLS broke a connection off. Cheap to clone; all clones are of the same connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFailure(Arc<OnceLock<String>>);

impl TlsFailure {
    /// Returns the reason, if TLS broke the connection off.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn note(&self, error: &io::Error) {
        if is_of_tls(error) {
            let _ = self.0.set(Causes(error).to_string());
        }
    }
}

impl NotedStream {
    pub(crate) fn new(stream: NodeStream) -> (Self, TlsFailure) {
        let failure = TlsFailure::default();
        (Self { stream, failure: failure.clone() }, failure)
    }

    fn inner(&mut self) -> Pin<&mut NodeStream> {
        Pin::new(&mut self.stream)
    }
}

impl AsyncRead for NotedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.inner().poll_read(context, buffer));
        Poll::Ready(read.inspect_err(|error| self.failure.note(error)))
    }
}

impl AsyncWrite for NotedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}
