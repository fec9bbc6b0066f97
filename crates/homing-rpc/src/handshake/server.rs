//! The side of the handshake that is called.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time;

use crate::handshake::message::{Answer, HTTP2, Hello, MAGIC, NodeNumber, Proof, Verdict};
use crate::handshake::refusal::Refusal;
use crate::secret::Secret;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the address at which the server took it: a process of this machine, perhaps this one.
    SameAddress,
    Elsewhere,
}

/// Lets the client prove that it knows the secret, after proving it to a client that makes a valid offer.
///
/// After it has returned, the next bytes on the stream are those of HTTP/2. It reads none of them. If it fails, the stream
/// is to be closed, with a [`farewell`] if there are [`last_words`].
///
/// It has no time limit of its own. It keeps 121 bytes of what the client says.
///
/// # Cancel safety
///
/// If the future is dropped, the stream cannot be used any longer.
pub(crate) async fn demand<S>(stream: &mut S, node: NodeNumber, secret: &Secret, origin: Origin) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await.map_err(closed)?;
    match magic {
        MAGIC => {}
        HTTP2 => return Err(Refusal::NoHandshake),
        _ if magic[..7] == MAGIC[..7] => return Err(Refusal::OtherVersion),
        _ if magic[..1] == TLS_HANDSHAKE => return Err(Refusal::UnexpectedTls),
        _ => return Err(Refusal::Garbage),
    }
    let hello = Hello::read(stream).await.map_err(closed)?.ok_or(Refusal::Garbage)?;
    let (chosen, keys) = hello.find(&secret.texts()).ok_or(Refusal::UnknownSecret)?;
    if hello.node == node && origin == Origin::Elsewhere {
        return Err(Refusal::Reflected);
    }
    let answer = Answer::new(chosen);
    let server_proof = keys.server_proof(&hello, &answer);
    stream.write_all(&[&answer.encode(), &server_proof[..]].concat()).await.map_err(closed)?;
    let mut proof = Proof::default();
    stream.read_exact(&mut proof).await.map_err(closed)?;
    match keys.is_client_proof(&hello, &answer, &server_proof, &proof) {
        true => Ok(()),
        false => Err(Refusal::FalseProof),
    }
}

/// Finds out what a client speaks that does not begin TLS with a server that has certificates.
///
/// # Cancel safety
///
/// If the future is dropped, the stream cannot be used any longer.
pub(crate) async fn without_tls(stream: &mut (impl AsyncRead + Unpin)) -> Refusal {
    let mut magic = [0; MAGIC.len()];
    match stream.read_exact(&mut magic).await {
        Err(_) => Refusal::Closed,
        Ok(_) if magic[..7] == MAGIC[..7] => Refusal::NoTls,
        Ok(_) if magic == HTTP2 => Refusal::NoHandshake,
        Ok(_) => Refusal::Garbage,
    }
}

/// Returns what a client is told before its connection is closed, in the protocol that it speaks.
pub(crate) fn last_words(refusal: Refusal) -> Option<Vec<u8>> {
    match refusal {
        // TLS has said it.
        Refusal::Certificate => Some(Vec::new()),
        Refusal::Full => Some(go_away(h2::Reason::ENHANCE_YOUR_CALM, FULL)),
        Refusal::NoHandshake => Some(go_away(h2::Reason::INADEQUATE_SECURITY, NO_HANDSHAKE)),
        Refusal::NoTls => Some(Verdict::NoTls.encode()),
        Refusal::UnexpectedTls => Some(TLS_ALERT.to_vec()),
        Refusal::OtherVersion => Some(Verdict::OtherVersion.encode()),
        Refusal::Reflected => Some(Verdict::Reflected.encode()),
        Refusal::UnknownSecret => Some(Verdict::UnknownSecret.encode()),
        _ => None,
    }
}

/// Sends the last bytes of a connection, and waits shortly until the other side closes it. A socket that is closed with
/// unread bytes would be reset, and the other side might lose what it was told.
///
/// # Cancel safety
///
/// Cancel safe: the stream is to be closed in any case.
pub(crate) async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) {
    let told = async {
        stream.write_all(message).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut AsyncReadExt::take(&mut *stream, MAX_REST_BYTES), &mut tokio::io::sink()).await
    };
    // It does not matter whether the other side got it.
    let _ = time::timeout(FAREWELL_TIMEOUT, told).await;
}

/// Returns the bytes that tell a client of HTTP/2 to go away: an empty SETTINGS frame, which has to be the first, and a
/// GOAWAY frame, whose additional data its user may see.
///
/// <https://www.rfc-editor.org/rfc/rfc9113#section-6.8>
fn go_away(code: h2::Reason, message: &str) -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let (last_stream, code) = (0_u32.to_be_bytes(), u32::from(code).to_be_bytes());
    let payload = [&last_stream[..], &code, message.as_bytes()].concat();
    let [_, length @ ..] = u32::try_from(payload.len()).expect("a message is short").to_be_bytes();
    [&SETTINGS[..], &length, &[7, 0], &0_u32.to_be_bytes(), &payload].concat()
}

/// Any failure of the stream is the end of it.
fn closed(_: io::Error) -> Refusal {
    Refusal::Closed
}

/// The first byte of TLS: a record of the handshake. <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>
pub(crate) const TLS_HANDSHAKE: [u8; 1] = [22];

/// A record of TLS with the fatal alert `handshake_failure`. <https://www.rfc-editor.org/rfc/rfc8446#section-6>
const TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// What a peer is told for whose connection there is no place.
const FULL: &str = "this node of Homing has as many connections of peers as it may have";

/// What clients of HTTP/2 without the handshake are told.
const NO_HANDSHAKE: &str = "this node of Homing serves only nodes that prove that they have its HOMING_SECRET";

/// How long, and for how many bytes, a connection is kept after the server has said its last word.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_REST_BYTES: u64 = 64 * 1024;
