//! `grpc-timeout`: a caller's deadline on the wire, reduced by the time that the answer needs to travel back.

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

/// Returns the deadline of a call that begins now and may take `timeout`, a day at most: beyond it clocks overflow.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(MAX_TIME_LIMIT)
}

/// Returns how long the server may take if the caller's deadline is `left` away. The rest is for the round trip, and
/// for the server to answer that it gave up. The server knows whether anything was executed, so its answer should
/// arrive before the caller gives up.
pub(crate) fn server_time(left: Duration, round_trip: Duration) -> Duration {
    let reserved = (round_trip + ANSWER_MARGIN).min(left / 2);
    (left - reserved).max(MIN_SERVER_TIME)
}

/// Returns the value of `grpc-timeout`: at most eight digits and a unit.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
pub(crate) fn encode(timeout: Duration) -> HeaderValue {
    let text = match (timeout.as_millis(), timeout.as_secs()) {
        (millis @ 0..=MAX_NUMBER, _) => format!("{millis}m"),
        (_, secs @ 0..=MAX_SECONDS) => format!("{secs}S"),
        _ => format!("{MAX_NUMBER}H"),
    };
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

/// Parses a `grpc-timeout`. A malformed one is ignored, as in tonic.
pub(crate) fn decode(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The longest time that a call may take: a day. A longer one would be as good as no limit.
pub(crate) const MAX_TIME_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The time in which the server cancels its work and answers.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// The wire format has whole milliseconds; this is the shortest time that is not zero.
const MIN_SERVER_TIME: Duration = Duration::from_millis(1);

/// The limit for the number in a `grpc-timeout`: eight digits.
const MAX_NUMBER: u128 = 99_999_999;
const MAX_SECONDS: u64 = 99_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn server_time_reserves_the_way_back() {
        let table = [(5000, 200, 4750), (5000, 0, 4950), (300, 200, 150), (60, 0, 30), (1, 0, 1), (0, 0, 1)];
        for (left, round_trip, expected) in table {
            assert_eq!(server_time(ms(left), ms(round_trip)), ms(expected), "{left} {round_trip}");
        }
    }

    #[test]
    fn timeouts_come_back() {
        for timeout in [ms(1), ms(4750), ms(99_999_999), Duration::from_secs(100_000)] {
            assert_eq!(decode(&encode(timeout)), Some(timeout));
        }
        assert_eq!(encode(Duration::MAX), "99999999H");
        assert_eq!(decode(&HeaderValue::from_static("2M")), Some(Duration::from_secs(120)));
    }

    #[test]
    fn malformed_ones_count_as_none() {
        for header in ["", "m", "5", "5x", "-5m", "+5m", "123456789m", "5 m", "5mm"] {
            assert_eq!(decode(&HeaderValue::from_static(header)), None, "{header:?}");
        }
        assert_eq!(decode(&HeaderValue::from_bytes("5µ".as_bytes()).unwrap()), None);
    }
}
