//! The reasons for which a server refuses a connection.

use std::fmt;

/// The reason for which a server refused a connection, or the requests of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// The requests of the connection are of another application.
    Application,
    /// TLS failed, or the certificate of the other side is not one of a node.
    Certificate,
    /// The other side closed the connection before it proved anything, as checks of an open port do.
    Closed,
    /// Too many connections had not proved anything yet, and newer ones took the place of this one.
    Crowded,
    /// The other side did not answer the server's proof: it repeats a recorded handshake, or an attacker changed a message.
    FalseProof,
    /// The node has as many connections of peers as it may have.
    Full,
    /// The other side speaks another protocol.
    Garbage,
    /// The other side speaks HTTP/2 without the handshake: an older build, a node without a secret, or a tool.
    NoHandshake,
    /// The other side does not begin TLS, which the node demands.
    NoTls,
    /// The other side knows another version of the handshake.
    OtherVersion,
    /// The requests of the connection are of another version of the protocol.
    Protocol,
    /// The node's own handshake came back from another address.
    Reflected,
    /// The other side did not prove within the time limit that it knows the secret.
    Silent,
    /// The other side begins TLS, and the node has no certificates.
    UnexpectedTls,
    /// The other side knows none of the texts of the secret.
    UnknownSecret,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 15] = [
        Self::Application,
        Self::Certificate,
        Self::Closed,
        Self::Crowded,
        Self::FalseProof,
        Self::Full,
        Self::Garbage,
        Self::NoHandshake,
        Self::NoTls,
        Self::OtherVersion,
        Self::Protocol,
        Self::Reflected,
        Self::Silent,
        Self::UnexpectedTls,
        Self::UnknownSecret,
    ];

    /// Returns the reason as a word, for the label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Certificate => "certificate",
            Self::Closed => "closed",
            Self::Crowded => "crowded",
            Self::FalseProof => "false_proof",
            Self::Full => "full",
            Self::Garbage => "garbage",
            Self::NoHandshake => "no_handshake",
            Self::NoTls => "no_tls",
            Self::OtherVersion => "other_version",
            Self::Protocol => "protocol",
            Self::Reflected => "reflected",
            Self::Silent => "silent",
            Self::UnexpectedTls => "unexpected_tls",
            Self::UnknownSecret => "unknown_secret",
        }
    }
}

impl fmt::Display for Refusal {
    /// Says why, and what to do.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Application => {
                "it is a node of another application: correct the addresses of its peers, or set the same HOMING_APP on \
                 all nodes"
            }
            Self::Certificate => {
                "TLS failed, or its certificate is not one of a node: check the files of HOMING_TLS_CERT and HOMING_TLS_CA on \
                 both nodes"
            }
            Self::Closed => "it closed the connection before it proved that it has the secret, as checks of an open port do",
            Self::Crowded => {
                "too many connections have not proved that they have the secret: restrict the port to the nodes"
            }
            Self::FalseProof => {
                "it repeats a recorded handshake, or its messages were changed on the way: restrict the port to the nodes"
            }
            Self::Full => "this node has as many connections of peers as it may have: run fewer nodes",
            Self::Garbage => "it speaks another protocol: restrict the port to the nodes",
            Self::NoHandshake => {
                "it speaks HTTP/2 without proving that it has the secret: it is a tool, or a node without HOMING_SECRET \
                 or with an older build; set the same HOMING_SECRET on all nodes"
            }
            Self::OtherVersion => {
                "it speaks another version of the handshake; run builds of Homing with the same protocol on both"
            }
            Self::Protocol => "its requests are of another protocol; run builds with the same protocol on both",
            Self::Reflected => {
                "it repeats this node's own handshake: an address of this node in another network, or a program that \
                 passes connections on"
            }
            Self::NoTls => "it has no TLS; set HOMING_TLS_CERT, HOMING_TLS_KEY and HOMING_TLS_CA on all nodes",
            Self::UnexpectedTls => {
                "it begins TLS, which this node does not have; set HOMING_TLS_CERT, HOMING_TLS_KEY and HOMING_TLS_CA on all nodes"
            }
            Self::Silent => "it did not prove in time that it has the secret",
            Self::UnknownSecret => "its secret differs from that of this node; set the same HOMING_SECRET on all nodes",
        })
    }
}
