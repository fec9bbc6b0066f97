//! The parts of a certificate that rustls does not show.

use rustls::pki_types::SubjectPublicKeyInfoDer;

/// Returns the public key of a certificate of version 1, which has no field for its version.
/// <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>
pub(super) fn public_key_of_version_1(certificate: &[u8]) -> Option<SubjectPublicKeyInfoDer<'_>> {
    let (_, certificate, _) = element(certificate)?;
    let (_, fields, _) = element(certificate)?;
    let (SERIAL_NUMBER, ..) = element(fields)? else { return None };
    // Serial number, signature algorithm, issuer, validity, subject.
    let key = (0..5).try_fold(fields, |fields, _| element(fields).map(|(_, _, rest)| rest))?;
    let (_, _, rest) = element(key)?;
    Some(key[..key.len() - rest.len()].into())
}

/// Reads an element of DER at the start of `bytes`. Returns its tag, its contents, and what is behind it.
/// <https://www.itu.int/rec/T-REC-X.690>
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    let (length, bytes) = match first {
        0..=0x7f => (usize::from(first), bytes),
        // The number of bytes that hold the length.
        0x81..=0x84 => {
            let (length, bytes) = bytes.split_at_checked(usize::from(first - 0x80))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), bytes)
        }
        _ => return None,
    };
    let (contents, rest) = bytes.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// The tag of an INTEGER. A later version would begin with another one.
const SERIAL_NUMBER: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert_eq!(element(&[4, 2, 7, 8, 9]), Some((4, &[7, 8][..], &[9][..])));
        assert_eq!(element(&[4, 0x81, 1, 7]), Some((4, &[7][..], &[][..])));
        for broken in [&[][..], &[4], &[4, 1], &[4, 0x80], &[4, 0x84, 0xff, 0xff, 0xff, 0xff, 0], &[4, 0x89, 1, 1]] {
            assert_eq!(element(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn key_is_the_sixth_field() {
        let field = |number| [0x30, 1, number];
        let fields: Vec<u8> = [2, 1, 0].into_iter().chain((1..=6).flat_map(field)).collect();
        let certificate = |fields: &[u8]| {
            let length = u8::try_from(fields.len()).unwrap();
            [&[0x30, length + 2, 0x30, length], fields].concat()
        };
        assert_eq!(public_key_of_version_1(&certificate(&fields)).as_deref(), Some(&[0x30, 1, 5][..]));
        assert_eq!(public_key_of_version_1(&certificate(&fields[..15])), None);
        let version_3 = [&[0xa0, 1, 2], &fields[..]].concat();
        assert_eq!(public_key_of_version_1(&certificate(&version_3)), None);
    }
}
