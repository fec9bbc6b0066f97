//! The messages of the handshake, and the MACs in them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::secret::key::Key;
use crate::secret::texts::{MAX_TEXTS, Texts};

/// The random number of a process.
pub(crate) type NodeNumber = [u8; 16];

pub(super) type Nonce = [u8; 32];
pub(super) type Offer = [u8; 16];
pub(super) type Proof = [u8; 32];

/// The first bytes of both sides; the last one is the version. No other protocol begins with a zero byte and this word.
pub(super) const MAGIC: [u8; 8] = *b"\0homing\x01";

/// The first bytes of HTTP/2, as many as [`MAGIC`] has.
/// <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>
pub(super) const HTTP2: [u8; 8] = *b"PRI * HT";

/// What the client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(super) node: NodeNumber,
    pub(super) nonce: Nonce,
    pub(super) offers: Vec<Offer>,
}

impl Hello {
    /// Returns a hello with an offer for each text of the secret.
    pub(super) fn new(node: NodeNumber, texts: &Texts) -> Self {
        let mut hello = Self { node, nonce: rand::random(), offers: Vec::new() };
        hello.offers = texts.keys(OFFER).map(|key| hello.offer(&key)).collect();
        hello
    }

    /// Returns the number of the first offer that one of these texts makes, and the text's keys for the proofs.
    pub(super) fn find(&self, texts: &Texts) -> Option<(u8, ProofKeys)> {
        let keys: Vec<_> = texts.keys(OFFER).zip(ProofKeys::of(texts)).collect();
        let header = self.header();
        let matching = |offer| keys.iter().find(|(key, _)| key.verify(&header, offer)).map(|(_, keys)| keys.clone());
        (0..).zip(&self.offers).find_map(|(number, offer)| Some((number, matching(offer)?)))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.push(u8::try_from(self.offers.len()).expect("a secret has few texts"));
        bytes.extend(self.offers.as_flattened());
        bytes
    }

    /// Reads the rest of a hello after [`MAGIC`]. Returns `None` if the number of offers is not valid.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let (mut node, mut nonce) = (NodeNumber::default(), Nonce::default());
        stream.read_exact(&mut node).await?;
        stream.read_exact(&mut nonce).await?;
        let count = usize::from(stream.read_u8().await?);
        if !(1..=MAX_TEXTS).contains(&count) {
            return Ok(None);
        }
        let mut offers = vec![Offer::default(); count];
        stream.read_exact(offers.as_flattened_mut()).await?;
        Ok(Some(Self { node, nonce, offers }))
    }

    /// Makes the messages of a client from a fuzzer's bytes: a hello whose offer is valid, then the rest. The first two bytes say
    /// which byte of the hello is changed.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn fuzzed(bytes: &[u8], texts: &Texts) -> Vec<u8> {
        let mut hello = Self { node: NodeNumber::default(), nonce: Nonce::default(), offers: Vec::new() };
        hello.offers = texts.keys(OFFER).map(|key| hello.offer(&key)).collect();
        let mut messages = hello.encode();
        if let Some((&[at, change], rest)) = bytes.split_first_chunk() {
            let at = usize::from(at) % messages.len();
            messages[at] ^= change;
            messages.extend(rest);
        }
        messages
    }

    fn header(&self) -> Vec<u8> {
        [&MAGIC[..], &self.node, &self.nonce].concat()
    }

    fn offer(&self, key: &Key) -> Offer {
        *key.sign(&self.header()).first_chunk().expect("a MAC is longer than an offer")
    }
}

/// The server's answer to a hello with a text that it knows, without the proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// The number of the offer whose text both sides use.
    pub(super) chosen: u8,
    pub(super) nonce: Nonce,
}

impl Answer {
    pub(super) fn new(chosen: u8) -> Self {
        Self { chosen, nonce: rand::random() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &[Verdict::Accepted as u8, self.chosen], &self.nonce].concat()
    }

    /// Reads the rest of an answer after the verdict, without the proof.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut answer = Self { chosen: stream.read_u8().await?, nonce: Nonce::default() };
        stream.read_exact(&mut answer.nonce).await?;
        Ok(answer)
    }
}

/// What the server thinks of a hello. The numbers are never used again with another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted = 0,
    UnknownSecret = 1,
    OtherVersion = 2,
    Reflected = 3,
    NoTls = 4,
}

impl Verdict {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Accepted, Self::UnknownSecret, Self::OtherVersion, Self::Reflected, Self::NoTls];
        all.into_iter().find(|verdict| *verdict as u8 == byte)
    }

    /// Encodes the answer that is a refusal.
    pub(super) fn encode(self) -> Vec<u8> {
        [&MAGIC[..], &[self as u8]].concat()
    }
}

/// The keys of both sides' proofs, of one text.
#[derive(Clone, Debug)]
pub(super) struct ProofKeys {
    server: Key,
    client: Key,
}

impl ProofKeys {
    /// Returns the keys of each text.
    pub(super) fn of(texts: &Texts) -> impl Iterator<Item = Self> {
        texts.keys(SERVER).zip(texts.keys(CLIENT)).map(|(server, client)| Self { server, client })
    }

    /// Returns the server's proof. The lengths of hello and answer follow from their contents, so no two pairs of them are
    /// the same message.
    pub(super) fn server_proof(&self, hello: &Hello, answer: &Answer) -> Proof {
        self.server.sign(&[hello.encode(), answer.encode()].concat())
    }

    pub(super) fn is_server_proof(&self, hello: &Hello, answer: &Answer, proof: &Proof) -> bool {
        self.server.verify(&[hello.encode(), answer.encode()].concat(), proof)
    }

    /// Returns the client's proof, which also covers the server's.
    pub(super) fn client_proof(&self, hello: &Hello, answer: &Answer, server_proof: &Proof) -> Proof {
        self.client.sign(&[&hello.encode(), &answer.encode(), &server_proof[..]].concat())
    }

    pub(super) fn is_client_proof(&self, hello: &Hello, answer: &Answer, server_proof: &Proof, proof: &Proof) -> bool {
        self.client.verify(&[&hello.encode(), &answer.encode(), &server_proof[..]].concat(), proof)
    }
}

/// The purposes of the keys.
const OFFER: &str = "homing handshake 1 offer";
const SERVER: &str = "homing handshake 1 server";
const CLIENT: &str = "homing handshake 1 client";
