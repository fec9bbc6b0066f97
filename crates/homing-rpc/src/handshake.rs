//! How two nodes prove to each other that they know the secret, before the first byte of HTTP/2.
//!
//! The client begins. The third message goes out together with the first request, so the handshake costs a connection one
//! round trip, and a call none.
//!
//! ```text
//! client  hello    magic and version (8)  node (16)  nonce (32)  number of offers (1)  offers (16 each)
//! server  answer   magic and version (8)  verdict 0 (1)  number of the chosen offer (1)  nonce (32)  proof (32)
//!    or   refusal  magic and version (8)  verdict (1)
//! client  proof    proof (32), followed by HTTP/2
//! ```
//!
//! `MAC(key, label, message)` is HMAC-SHA256 ([RFC 2104]) with a key that is derived from a text of the secret for this
//! label alone ([`Key`](crate::Key)):
//!
//! | value | is |
//! |---|---|
//! | offer, one for each text of the client's secret | the first 16 bytes of `MAC(text, "offer", hello before the offers)` |
//! | the server's proof | `MAC(text, "server", hello, answer before the proof)` |
//! | the client's proof | `MAC(text, "client", hello, answer)` |
//!
//! The server looks for an offer that it can make itself with one of its own texts, which names the text without a constant
//! that would identify it. `node` is the random number of the client's process.
//!
//! The form is that of three pass authentication in ISO/IEC 9798-4 (mechanism 4), with the rules of Bird et al.,
//! "Systematic Design of a Family of Attack-Resistant Authentication Protocols" (1993): each MAC covers both nonces, the
//! direction and everything that was said before. TLS 1.3 does the same with its binders ([RFC 8446], section 4.2.11.2)
//! and Finished messages.
//!
//! # What an attacker gets
//!
//! - **A recording** holds nonces and MACs. A MAC is good for its two nonces only, and each side chooses one anew, so a
//!   replay of either direction ends before a request is read. The secret does not follow from a MAC, but a *guess* of it
//!   can be checked, without asking a node. So a secret has to be random: 32 hexadecimal digits have 128 bits. A password
//!   that a person made up can be guessed. An exchange that resists this (a PAKE) would cost elliptic curves and another
//!   round trip, and help only against a mistake that `openssl rand -hex 32` excludes.
//! - **A stranger at a former peer's address** gets offers that are valid for one nonce of the client's. It cannot make the
//!   server's proof, so the client closes the connection, and no request reaches the stranger.
//! - **A stranger who connects** gets a refusal. It cannot make an offer; if it repeats a recorded hello, it gets the
//!   server's proof over a nonce that was not its choice, and the connection ends because the client's proof is missing.
//! - **Reflection.** Labels and the order of nonces tell the directions apart. A stranger who answers a node with the node's
//!   own answer, by opening a connection back to that node, has the node's number in the hello: a server refuses its own
//!   number unless the connection comes from its own address. That is the attack "Selfie" on keys that a group shares
//!   (Drucker and Gueron, 2019).
//! - **A stranger in the middle**, on the path or at a former address, who passes all messages on between two nodes, is not
//!   detected: the handshake ends, and the rest of the connection is neither encrypted nor authenticated. For as long
//!   as this connection lives the stranger reads it and can put requests into it; [RFC 9257], section 4.1, calls it
//!   rerouting. Only TLS helps ([`Tls`](crate::Tls)); the handshake then runs inside it. Addresses in the MACs would exclude it where no address is translated, and exclude nodes
//!   where one is.
//!
//! [RFC 2104]: https://www.rfc-editor.org/rfc/rfc2104
//! [RFC 8446]: https://www.rfc-editor.org/rfc/rfc8446#section-4.2.11.2
//! [RFC 9257]: https://www.rfc-editor.org/rfc/rfc9257#section-4.1

pub(crate) mod client;
pub(crate) mod message;
pub(crate) mod refusal;
pub(crate) mod server;

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::client::{ClientFailure, prove};
    use super::message::{Hello, MAGIC, NodeNumber};
    use super::refusal::Refusal;
    use super::server::{Origin, demand, farewell, last_words};
    use crate::secret::Secret;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";
    const CLIENT: NodeNumber = [1; 16];
    const SERVER: NodeNumber = [2; 16];

    fn secret(texts: &[&str]) -> Secret {
        Secret::new(texts.join(",")).unwrap()
    }

    /// The bytes of both directions.
    #[derive(Default)]
    struct Recording {
        client: Vec<u8>,
        server: Vec<u8>,
    }

    async fn demanded(stream: &mut DuplexStream, texts: &[&str]) -> Result<(), Refusal> {
        let demanded = demand(stream, SERVER, &secret(texts), Origin::Elsewhere).await;
        if let Some(words) = demanded.err().and_then(last_words) {
            farewell(stream, &words).await;
        }
        demanded
    }

    /// Runs both sides, and records what they say.
    async fn run(client: &[&str], server: &[&str]) -> (Result<(), ClientFailure>, Result<(), Refusal>, Recording) {
        let ((mut near, mut left), (mut right, mut far)) = (duplex(1), duplex(1));
        let mut recording = Recording::default();
        let relay = async {
            let (mut from_client, mut to_client) = tokio::io::split(&mut left);
            let (mut from_server, mut to_server) = tokio::io::split(&mut right);
            let copied = futures_util::future::join(
                copy(&mut from_client, &mut to_server, &mut recording.client),
                copy(&mut from_server, &mut to_client, &mut recording.server),
            );
            copied.await;
        };
        let client = async {
            let result = prove(&mut near, CLIENT, &secret(client)).await;
            drop(near);
            result
        };
        let server = async {
            let result = demanded(&mut far, server).await;
            drop(far);
            result
        };
        let (client, server, ()) = futures_util::future::join3(client, server, relay).await;
        (client, server, recording)
    }

    async fn copy(
        from: &mut (impl AsyncReadExt + Unpin),
        to: &mut (impl AsyncWriteExt + Unpin),
        recording: &mut Vec<u8>,
    ) {
        let mut byte = [0];
        while let Ok(1) = from.read(&mut byte).await {
            recording.push(byte[0]);
            if to.write_all(&byte).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }

    #[tokio::test]
    async fn one_common_text_is_enough() {
        let lists: [&[&str]; 4] = [&[OLD], &[OLD, NEW], &[NEW, OLD], &[NEW]];
        for client in lists {
            for server in lists {
                let (proved, demanded, recording) = run(client, server).await;
                let have_common = client.iter().any(|text| server.contains(text));
                match have_common {
                    true => {
                        assert!(proved.is_ok() && demanded.is_ok(), "{client:?} {server:?} {proved:?} {demanded:?}")
                    }
                    false => {
                        assert!(matches!(proved, Err(ClientFailure::UnknownSecret)), "{proved:?}");
                        assert_eq!(demanded, Err(Refusal::UnknownSecret));
                    }
                }
                let said = [recording.client, recording.server].concat();
                assert!(!said.windows(8).any(|part| OLD.as_bytes().windows(8).any(|text| text == part)));
            }
        }
    }

    #[tokio::test]
    async fn no_two_handshakes_share_a_value() {
        let (first, second) = (run(&[OLD], &[OLD]).await.2, run(&[OLD], &[OLD]).await.2);
        let parts = |recording: &Recording| {
            let (client, server) = (&recording.client, &recording.server);
            [&client[24..56], &client[57..73], &client[73..], &server[10..42], &server[42..]].map(<[u8]>::to_vec)
        };
        let all = [parts(&first), parts(&second)].concat();
        let different: std::collections::BTreeSet<_> = all.iter().map(|part| &part[..16]).collect();
        assert_eq!(different.len(), all.len());
    }

    /// Returns what the server makes of bytes, and its answer.
    async fn said_to_server(bytes: &[u8]) -> (Result<(), Refusal>, Vec<u8>) {
        let (mut near, mut far) = duplex(64 * 1024);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let demanded = demanded(&mut far, &[OLD]).await;
        drop(far);
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        (demanded, answer)
    }

    /// Returns what a client makes of bytes.
    async fn said_to_client(bytes: &[u8]) -> ClientFailure {
        let (mut near, mut far) = duplex(64 * 1024);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        prove(&mut near, CLIENT, &secret(&[OLD])).await.unwrap_err()
    }

    #[tokio::test]
    async fn replayed_directions_are_refused() {
        let (_, _, recording) = run(&[OLD], &[OLD]).await;
        assert_eq!(said_to_server(&recording.client).await.0, Err(Refusal::FalseProof));
        assert!(matches!(said_to_client(&recording.server).await, ClientFailure::FalseProof));
        // And each side gets its own words.
        assert!(said_to_server(&recording.server).await.0.is_err());
        assert!(said_to_client(&recording.client).await.is_refusal());
    }

    #[tokio::test]
    async fn changed_byte_fails_both_sides() {
        let (_, _, recording) = run(&[OLD], &[OLD]).await;
        let hello = recording.client.len() - 32;
        for place in 0..hello + 32 {
            let mut changed = recording.client.clone();
            changed[place] ^= 1;
            assert!(said_to_server(&changed).await.0.is_err(), "{place}");
        }
        // A server that knows the secret, behind an attacker who changes one byte of its answer.
        for place in 0..recording.server.len() {
            let (mut near, mut far) = duplex(1024);
            let server = async {
                let (mut left, mut right) = duplex(1024);
                let mut hello_bytes = vec![0; hello];
                far.read_exact(&mut hello_bytes).await.unwrap();
                left.write_all(&hello_bytes).await.unwrap();
                let answer = async {
                    let mut answer = vec![0; recording.server.len()];
                    left.read_exact(&mut answer).await.unwrap();
                    answer[place] ^= 1;
                    far.write_all(&answer).await.unwrap();
                    far.shutdown().await.unwrap();
                    left.shutdown().await.unwrap();
                };
                futures_util::future::join(demanded(&mut right, &[OLD]), answer).await.0
            };
            let (proved, demanded) =
                futures_util::future::join(prove(&mut near, CLIENT, &secret(&[OLD])), server).await;
            assert!(proved.is_err() && demanded.is_err(), "{place}");
        }
    }

    #[tokio::test]
    async fn own_hello_from_elsewhere_is_refused() {
        for (origin, expected) in [(Origin::Elsewhere, Some(Refusal::Reflected)), (Origin::SameAddress, None)] {
            let (mut near, mut far) = duplex(1024);
            let secret = secret(&[OLD]);
            let server = async {
                let demanded = demand(&mut far, CLIENT, &secret, origin).await;
                if let Some(words) = demanded.err().and_then(last_words) {
                    far.write_all(&words).await.unwrap();
                }
                demanded
            };
            let (proved, demanded) = futures_util::future::join(prove(&mut near, CLIENT, &secret), server).await;
            assert_eq!(demanded.err(), expected);
            assert_eq!(proved.is_ok(), expected.is_none(), "{proved:?}");
        }
    }

    #[tokio::test]
    async fn other_protocols_are_named() {
        let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let (demanded, answer) = said_to_server(http2).await;
        assert_eq!(demanded, Err(Refusal::NoHandshake));
        assert!(String::from_utf8_lossy(&answer).contains("HOMING_SECRET"), "{answer:?}");
        assert_eq!(&answer[..9], b"\0\0\0\x04\0\0\0\0\0", "an empty SETTINGS frame");

        let mut newer = MAGIC;
        newer[7] += 1;
        let (demanded, answer) = said_to_server(&newer).await;
        assert_eq!(demanded, Err(Refusal::OtherVersion));
        assert!(matches!(said_to_client(&answer).await, ClientFailure::OtherVersion));

        let (demanded, answer) = said_to_server(b"\x16\x03\x01\x02\x00\x01\x00\x01").await;
        assert_eq!(demanded, Err(Refusal::UnexpectedTls));
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 40], "a fatal alert");

        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096]] {
            let (demanded, answer) = said_to_server(garbage).await;
            assert_eq!(demanded, Err(Refusal::Garbage));
            assert!(answer.is_empty());
            assert!(matches!(said_to_client(garbage).await, ClientFailure::Garbage));
        }
        let settings = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80";
        assert!(matches!(said_to_client(settings).await, ClientFailure::NoHandshake));
    }

    #[tokio::test]
    async fn half_a_handshake_is_no_proof() {
        let (_, _, recording) = run(&[OLD, NEW], &[OLD]).await;
        for length in 0..recording.client.len() {
            assert_eq!(said_to_server(&recording.client[..length]).await.0, Err(Refusal::Closed), "{length}");
        }
        for length in 0..recording.server.len() {
            let failure = said_to_client(&recording.server[..length]).await;
            assert!(matches!(failure, ClientFailure::Closed), "{length}: {failure:?}");
        }
    }

    #[tokio::test]
    async fn too_many_offers_are_not_read() {
        for count in [0, 5, 255] {
            let hello = [&MAGIC[..], &CLIENT, &[7; 32], &[count]].concat();
            assert_eq!(said_to_server(&hello).await.0, Err(Refusal::Garbage), "{count}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), begins_well in any::<bool>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let bytes = if begins_well { [&MAGIC[..], &bytes].concat() } else { bytes };
            runtime.block_on(async {
                assert!(said_to_server(&bytes).await.0.is_err());
                said_to_client(&bytes).await;
            });
        }

        #[test]
        fn hello_is_read_as_written(node: [u8; 16], nonce: [u8; 32], offers in prop::collection::vec(any::<[u8; 16]>(), 1..=4)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let hello = Hello { node, nonce, offers };
            let encoded = hello.encode();
            let read = runtime.block_on(Hello::read(&mut &encoded[MAGIC.len()..])).unwrap();
            assert_eq!(read, Some(hello));
        }
    }

    #[test]
    fn closed_connection_is_an_error_of_io() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(ClientFailure::from(reset), ClientFailure::Io(_)));
        let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(matches!(ClientFailure::from(ended), ClientFailure::Closed));
    }
}
