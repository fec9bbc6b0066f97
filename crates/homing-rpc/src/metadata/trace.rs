//! W3C trace context, which connects the spans of several nodes for one request.

use std::fmt;
use std::sync::Arc;

use crate::task::BoxFuture;

/// A [W3C trace context](https://www.w3.org/TR/trace-context/): the trace of a call, and its parent span.
///
/// It travels with every call. Calls that a function makes continue the function's trace automatically. To continue the
/// trace of an incoming HTTP request, parse its headers and run the work in [`scope`](Self::scope).
///
/// ```
/// use homing_rpc::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceContext::parse(header, None).expect("well-formed");
/// assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(trace.to_string(), header);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// Returns a new trace with random ids, not sampled and without state.
    pub fn root() -> Self {
        // Zero is not a valid id.
        Self { trace_id: rand::random::<u128>() | 1, parent_id: rand::random::<u64>() | 1, flags: 0, state: None }
    }

    /// Parses the headers `traceparent` and `tracestate`. Returns `None` if `traceparent` is malformed; ignores a
    /// malformed `tracestate`.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let version = hex(bytes.get(0..2)?)?;
        let separated = [2, 35, 52].iter().all(|index| bytes.get(*index) == Some(&b'-'));
        let ended = match version {
            0 => bytes.len() == LENGTH,
            // Later versions may append fields; https://www.w3.org/TR/trace-context/#versioning-of-traceparent
            _ => matches!(bytes.get(LENGTH), None | Some(b'-')),
        };
        let trace_id = hex(bytes.get(3..35)?)?;
        let parent_id = u64::try_from(hex(bytes.get(36..52)?)?).ok()?;
        let flags = u8::try_from(hex(bytes.get(53..LENGTH)?)?).ok()?;
        if version == 0xff || !separated || !ended || trace_id == 0 || parent_id == 0 {
            return None;
        }
        let state = tracestate.filter(|state| is_state(state)).map(Arc::from);
        Some(Self { trace_id, parent_id, flags, state })
    }

    /// Returns the context of the running function or [`scope`](Self::scope).
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future in this context: the calls that it makes continue the trace. Tasks that it spawns do not.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe if `future` is.
    pub fn scope<'a, T>(self, future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T>
    where
        T: 'a,
    {
        Box::pin(CURRENT.scope(self, future))
    }

    /// Returns the context with a new parent span in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { parent_id: rand::random::<u64>() | 1, ..self.clone() }
    }

    /// Returns the id of the trace, 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Returns the id of the parent span, 16 hexadecimal digits.
    pub fn parent_id(&self) -> String {
        format!("{:016x}", self.parent_id)
    }

    /// Returns whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the value of `tracestate`.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Formats the value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Parses lower-case hexadecimal digits; the specification does not allow upper case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// Returns whether a `tracestate` may be passed on. Its members are not examined: only their vendors know their format.
fn is_state(state: &str) -> bool {
    !state.is_empty() && state.len() <= MAX_STATE_BYTES && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

/// The specification requires that at least this much is propagated; a longer one is dropped.
/// <https://www.w3.org/TR/trace-context/#tracestate-limits>
const MAX_STATE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn headers_come_back() {
        let trace = TraceContext::parse(HEADER, Some("a=1,b=2")).unwrap();
        assert_eq!(trace.to_string(), HEADER);
        assert_eq!(trace.state(), Some("a=1,b=2"));
        assert_eq!(trace.parent_id(), "00f067aa0ba902b7");
        assert!(trace.is_sampled());
        let root = TraceContext::root();
        assert_eq!(TraceContext::parse(&root.to_string(), None), Some(root));
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = HEADER.replacen("00", "01", 1);
        for header in [later.clone(), format!("{later}-more")] {
            assert_eq!(TraceContext::parse(&header, None).unwrap().to_string(), HEADER);
        }
        assert_eq!(TraceContext::parse(&format!("{later}more"), None), None);
    }

    #[test]
    fn a_malformed_one_is_ignored() {
        let malformed = [
            String::new(),
            "00".into(),
            HEADER[..54].into(),
            format!("{HEADER}0"),
            format!("{HEADER}-more"),
            HEADER.to_uppercase(),
            HEADER.replacen("00", "ff", 1),
            HEADER.replace('-', "_"),
            HEADER.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            HEADER.replace("00f067aa0ba902b7", &"0".repeat(16)),
            HEADER.replace('4', "é"),
            "é".repeat(40),
        ];
        for header in malformed {
            assert_eq!(TraceContext::parse(&header, None), None, "{header}");
        }
        let long = format!("a={}", "x".repeat(512));
        for state in ["", "a=\n", &long] {
            assert_eq!(TraceContext::parse(HEADER, Some(state)).unwrap().state(), None);
        }
    }

    #[test]
    fn a_child_stays_in_the_trace() {
        let parent = TraceContext::parse(HEADER, Some("a=1")).unwrap();
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_ne!(child.parent_id(), parent.parent_id());
        assert_eq!((child.is_sampled(), child.state()), (true, Some("a=1")));
    }

    #[tokio::test]
    async fn the_scope_is_the_current_context() {
        assert_eq!(TraceContext::current(), None);
        let trace = TraceContext::root();
        let seen = trace.clone().scope(async { TraceContext::current() }).await;
        assert_eq!(seen, Some(trace));
    }
}
