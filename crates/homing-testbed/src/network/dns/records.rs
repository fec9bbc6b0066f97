//! The records of a DNS view, and the answers from them.

use std::{collections::BTreeMap, net::IpAddr};

use hickory_proto::rr::rdata::{SRV, TXT};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use crate::error::{Error, Result};

/// How a [`DnsView`](crate::DnsView) answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsAnswers {
    /// With the records. The default.
    #[default]
    FromRecords,
    /// With NXDOMAIN: the name does not exist.
    NoSuchName,
    /// With an empty NOERROR: the name exists, but not with records of this type.
    Empty,
    /// With REFUSED: the server does not serve this client.
    Refused,
    /// With SERVFAIL: the server has failed.
    Failing,
    /// Not at all: the client runs into its own time limit.
    Silent,
}

#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) ttl: u32,
    pub(super) answers: DnsAnswers,
    names: BTreeMap<LowerName, Vec<RData>>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These records, possibly none.
    Records(Vec<Record>),
    Failing,
    NoSuchName,
    Refused,
    Silent,
}

impl Records {
    /// Answers a question. Pure.
    pub(super) fn answer(&self, name: &LowerName, kind: RecordType) -> Answer {
        match self.answers {
            DnsAnswers::FromRecords => self.look_up(name, kind),
            DnsAnswers::NoSuchName => Answer::NoSuchName,
            DnsAnswers::Empty => Answer::Records(Vec::new()),
            DnsAnswers::Refused => Answer::Refused,
            DnsAnswers::Failing => Answer::Failing,
            DnsAnswers::Silent => Answer::Silent,
        }
    }

    pub(super) fn set_addresses(&mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        let data = addresses.into_iter().map(RData::from).collect();
        self.set(name, &[RecordType::A, RecordType::AAAA], data)
    }

    pub(super) fn set_services<T: AsRef<str>>(
        &mut self,
        name: &str,
        services: impl IntoIterator<Item = (T, u16)>,
    ) -> Result<()> {
        let data = services.into_iter().map(|(target, port)| {
            let target = parse(target.as_ref())?;
            Ok(RData::SRV(SRV::new(PRIORITY, WEIGHT, port, target)))
        });
        self.set(name, &[RecordType::SRV], data.collect::<Result<_>>()?)
    }

    pub(super) fn set_texts<T: AsRef<str>>(&mut self, name: &str, texts: impl IntoIterator<Item = T>) -> Result<()> {
        let data = texts.into_iter().map(|text| {
            let text = text.as_ref().to_owned();
            match text.len() {
                0..=MAX_TEXT => Ok(RData::TXT(TXT::new(vec![text]))),
                length => {
                    let message = format!("a TXT record for {name} has {length} bytes; use at most {MAX_TEXT}");
                    Err(Error::misuse(message))
                }
            }
        });
        self.set(name, &[RecordType::TXT], data.collect::<Result<_>>()?)
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<()> {
        self.names.remove(&LowerName::from(parse(name)?));
        Ok(())
    }

    /// Replaces the records of these kinds.
    fn set(&mut self, name: &str, kinds: &[RecordType], data: Vec<RData>) -> Result<()> {
        let name = LowerName::from(parse(name)?);
        let records = self.names.entry(name.clone()).or_default();
        records.retain(|record| !kinds.contains(&record.record_type()));
        records.extend(data);
        if records.is_empty() {
            self.names.remove(&name);
        }
        Ok(())
    }

    fn look_up(&self, name: &LowerName, kind: RecordType) -> Answer {
        let Some(records) = self.names.get(name) else {
            // RFC 8020: a name exists if a name below it does, even without records of its own.
            return match self.names.keys().any(|known| name.zone_of(known)) {
                true => Answer::Records(Vec::new()),
                false => Answer::NoSuchName,
            };
        };
        let wanted = |data: &&RData| kind == RecordType::ANY || data.record_type() == kind;
        let record = |data: &RData| Record::from_rdata(name.into(), self.ttl, data.clone());
        Answer::Records(records.iter().filter(wanted).map(record).collect())
    }
}

impl Default for Records {
    fn default() -> Self {
        Self { ttl: DEFAULT_TTL, answers: DnsAnswers::default(), names: BTreeMap::new() }
    }
}

fn parse(name: &str) -> Result<Name> {
    let parsed = Name::from_utf8(name).ok().filter(|_| !name.is_empty());
    let mut parsed = parsed.ok_or_else(|| Error::misuse(format!("invalid DNS name {name:?}")))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

/// In seconds. Short, because tests change records and should not wait long for the change.
const DEFAULT_TTL: u32 = 1;

const PRIORITY: u16 = 10;

const WEIGHT: u16 = 10;

/// The longest character-string, in bytes (RFC 1035, section 3.3).
const MAX_TEXT: usize = 255;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn other_record_types_stay() {
        let mut records = Records::default();
        records.set_texts("a.b", ["text"]).unwrap();
        records.set_addresses("A.b.", [IpAddr::from(Ipv4Addr::LOCALHOST)]).unwrap();
        assert_eq!(count(&records, "a.B", RecordType::ANY), Some(2));
        records.set_addresses("a.b", []).unwrap();
        assert_eq!(count(&records, "a.b", RecordType::A), Some(0));
        assert_eq!(count(&records, "a.b", RecordType::TXT), Some(1));
        records.set_texts("a.b", [""; 0]).unwrap();
        assert_eq!(count(&records, "a.b", RecordType::TXT), None);
    }

    #[test]
    fn name_exists_above_another() {
        let mut records = Records::default();
        records.set_services("_homing._tcp.syd.shop", [("one.syd.shop", 1)]).unwrap();
        assert_eq!(count(&records, "syd.shop", RecordType::A), Some(0));
        assert_eq!(count(&records, "yd.shop", RecordType::A), None);
        records.remove("_homing._tcp.syd.shop").unwrap();
        assert_eq!(count(&records, "syd.shop", RecordType::A), None);
    }

    #[test]
    fn invalid_records_are_refused() {
        let mut records = Records::default();
        assert!(records.remove("").unwrap_err().is_misuse());
        assert!(records.remove("a..b").unwrap_err().is_misuse());
        assert!(records.set_texts("a", ["x".repeat(256)]).unwrap_err().is_misuse());
    }

    fn count(records: &Records, name: &str, kind: RecordType) -> Option<usize> {
        match records.answer(&LowerName::from(parse(name).unwrap()), kind) {
            Answer::Records(records) => Some(records.len()),
            other => {
                assert_eq!(other, Answer::NoSuchName);
                None
            }
        }
    }
}
