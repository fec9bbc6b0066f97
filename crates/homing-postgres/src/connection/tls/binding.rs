//! [`end_point`], which tells a server's certificate from any other in SCRAM's channel binding.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::der::element;

/// Returns the hash of a certificate for the channel binding `tls-server-end-point`. `None` if the algorithm of its
/// signature has no hash that is known here; SCRAM then goes without channel binding.
///
/// The hash is that of the certificate's signature, or SHA-256 in place of MD5 and SHA-1.
/// <https://www.rfc-editor.org/rfc/rfc5929#section-4.1>
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, fields, _) = element(certificate)?;
    let (_, _, fields) = element(fields)?;
    let (_, algorithm, _) = element(fields)?;
    let (_, identifier, parameters) = element(algorithm)?;
    Some(match hash_of(identifier, parameters)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// A hash function.
///
/// Closed: an added one needs a line in [`end_point`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Returns the hash of a signature algorithm. The identifiers are those of
/// <https://www.rfc-editor.org/rfc/rfc8017#appendix-C> and <https://www.rfc-editor.org/rfc/rfc5758#section-3.2>.
fn hash_of(identifier: &[u8], parameters: &[u8]) -> Option<Hash> {
    if let Some(number) = identifier.strip_prefix(RSA) {
        return match number {
            // MD5 and SHA-1
            [4 | 5] => Some(Hash::Sha256),
            [10] => pss_hash(parameters),
            [11] => Some(Hash::Sha256),
            [12] => Some(Hash::Sha384),
            [13] => Some(Hash::Sha512),
            [14] => Some(Hash::Sha224),
            _ => None,
        };
    }
    match identifier.strip_prefix(ECDSA)? {
        // SHA-1
        [1] => Some(Hash::Sha256),
        [3, 1] => Some(Hash::Sha224),
        [3, 2] => Some(Hash::Sha256),
        [3, 3] => Some(Hash::Sha384),
        [3, 4] => Some(Hash::Sha512),
        _ => None,
    }
}

/// Returns the hash in the parameters of RSASSA-PSS, which is SHA-1 if they name none.
/// <https://www.rfc-editor.org/rfc/rfc4055#section-3.1>
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    let (_, parameters, _) = element(parameters)?;
    let Some((HASH_OF_PSS, hash, _)) = element(parameters) else { return Some(Hash::Sha256) };
    let (_, hash, _) = element(hash)?;
    let (_, identifier, _) = element(hash)?;
    match identifier.strip_prefix(SHA2)? {
        [1] => Some(Hash::Sha256),
        [2] => Some(Hash::Sha384),
        [3] => Some(Hash::Sha512),
        [4] => Some(Hash::Sha224),
        _ => None,
    }
}

/// 1.2.840.113549.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];

/// 1.2.840.10045.4
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];

/// 2.16.840.1.101.3.4.2
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

/// The tag of the hash in the parameters of RSASSA-PSS.
const HASH_OF_PSS: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps contents of fewer than 128 bytes.
    fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
        let contents = contents.concat();
        [&[tag, u8::try_from(contents.len()).unwrap()], &*contents].concat()
    }

    fn signed_with(algorithm: &[&[u8]]) -> Vec<u8> {
        der(0x30, &[&der(0x30, &[&[0; 20]]), &der(0x30, algorithm), &[3, 1, 0]])
    }

    #[test]
    fn hash_follows_the_signature() {
        let identifier = |parts: &[&[u8]]| der(6, parts);
        let rsa = |number: u8| signed_with(&[&identifier(&[RSA, &[number]]), &[5, 0]]);
        let ecdsa = |numbers: &[u8]| signed_with(&[&identifier(&[ECDSA, numbers])]);
        let pss = |hash: &[u8]| signed_with(&[&identifier(&[RSA, &[10]]), &der(0x30, &[hash])]);
        let pss_of = |number| pss(&der(0xa0, &[&der(0x30, &[&identifier(&[SHA2, &[number]])])]));
        for (certificate, length) in [
            (rsa(4), Some(32)),
            (rsa(5), Some(32)),
            (rsa(11), Some(32)),
            (rsa(12), Some(48)),
            (rsa(13), Some(64)),
            (rsa(14), Some(28)),
            (ecdsa(&[1]), Some(32)),
            (ecdsa(&[3, 2]), Some(32)),
            (ecdsa(&[3, 3]), Some(48)),
            (ecdsa(&[3, 4]), Some(64)),
            (pss(&[]), Some(32)),
            (pss_of(1), Some(32)),
            (pss_of(3), Some(64)),
            // Ed25519 has no hash of its own.
            (signed_with(&[&identifier(&[&[0x2b, 0x65, 0x70]])]), None),
        ] {
            assert_eq!(end_point(&certificate).map(|hash| hash.len()), length, "{certificate:x?}");
        }
    }

    #[test]
    fn truncated_certificates_have_no_hash() {
        let certificate = signed_with(&[&der(6, &[ECDSA, &[3, 2]])]);
        for end in 0..certificate.len() {
            assert_eq!(end_point(&certificate[..end]), None);
        }
    }
}
