//! The side of the handshake that calls.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::handshake::message::{Answer, Hello, MAGIC, NodeNumber, Proof, ProofKeys, Verdict};
use crate::secret::Secret;

/// Why the handshake failed at the client. No request was sent.
#[derive(Debug)]
pub(crate) enum ClientFailure {
    /// The server closed the connection.
    Closed,
    /// The server cannot prove that it knows the secret.
    FalseProof,
    /// The answer is of another protocol.
    Garbage,
    Io(io::Error),
    /// The server speaks HTTP/2 at once.
    NoHandshake,
    /// The server demands TLS, which this node does not have.
    NoTls,
    /// The server knows another version of the handshake only.
    OtherVersion,
    /// The server found its own number.
    Reflected,
    /// The server knows none of the texts of the secret.
    UnknownSecret,
}

impl ClientFailure {
    /// Returns whether another attempt would fail in the same way until an operator has changed something.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Closed | Self::Io(_))
    }

    /// Says why, and what to do.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Closed => "it closed the connection before it proved that it has the secret".into(),
            Self::FalseProof => "it did not prove that it has the secret: another program may have its address now, or \
                                 the messages were changed on the way"
                .into(),
            Self::Garbage => "it answered with something else than Homing's handshake: another program listens there, or \
                              has its address now"
                .into(),
            Self::Io(error) => format!("the connection failed during the handshake: {error}"),
            Self::NoHandshake => "it does not prove that it has the secret: it has no HOMING_SECRET, or runs an older \
                                  build of Homing; set the same HOMING_SECRET on all nodes, and run builds with the same \
                                  protocol"
                .into(),
            Self::NoTls => {
                "it refused this node, which has no TLS; set HOMING_TLS_CERT, HOMING_TLS_KEY and HOMING_TLS_CA on all nodes".into()
            }
            Self::OtherVersion => {
                "it speaks another version of the handshake; run builds of Homing with the same protocol on both".into()
            }
            Self::Reflected => {
                "it is this node itself, behind another address: correct the addresses; or another program passes \
                 connections on to this node"
                    .into()
            }
            Self::UnknownSecret => {
                "it refused this node: the secrets differ; set the same HOMING_SECRET on all nodes".into()
            }
        }
    }
}

impl From<io::Error> for ClientFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Proves to the server that this node knows the secret, if the server proves it first.
///
/// After it has returned, the next bytes on the stream are those of HTTP/2. It reads none of them.
///
/// # Cancel safety
///
/// If the future is dropped, the stream cannot be used any longer.
pub(crate) async fn prove<S>(stream: &mut S, node: NodeNumber, secret: &Secret) -> Result<(), ClientFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let texts = secret.texts();
    let hello = Hello::new(node, &texts);
    stream.write_all(&hello.encode()).await?;
    read_verdict(stream).await?;
    let answer = Answer::read(stream).await?;
    let mut server_proof = Proof::default();
    stream.read_exact(&mut server_proof).await?;
    let keys = ProofKeys::of(&texts).nth(answer.chosen.into()).ok_or(ClientFailure::FalseProof)?;
    if !keys.is_server_proof(&hello, &answer, &server_proof) {
        return Err(ClientFailure::FalseProof);
    }
    stream.write_all(&keys.client_proof(&hello, &answer, &server_proof)).await?;
    Ok(())
}

/// Reads the beginning of the answer.
async fn read_verdict(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), ClientFailure> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(if magic[..7] == MAGIC[..7] {
            ClientFailure::OtherVersion
        } else if is_settings_frame(&magic) {
            ClientFailure::NoHandshake
        } else {
            ClientFailure::Garbage
        });
    }
    match Verdict::from_byte(stream.read_u8().await?) {
        Some(Verdict::Accepted) => Ok(()),
        Some(Verdict::UnknownSecret) => Err(ClientFailure::UnknownSecret),
        Some(Verdict::NoTls) => Err(ClientFailure::NoTls),
        Some(Verdict::Reflected) => Err(ClientFailure::Reflected),
        // A verdict that this build does not know is a refusal of a later one.
        Some(Verdict::OtherVersion) | None => Err(ClientFailure::OtherVersion),
    }
}

/// Returns whether these are the first bytes of a SETTINGS frame, with which a server of HTTP/2 begins.
/// <https://www.rfc-editor.org/rfc/rfc9113#section-6.5>
fn is_settings_frame(bytes: &[u8; 8]) -> bool {
    matches!(bytes, [0, _, _, 4, 0, 0, 0, 0])
}
