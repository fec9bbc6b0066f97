//! The types of columns, and what may be in them.

use std::fmt::Debug;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use postgres_types::{Date, FromSql, PgLsn, Timestamp, ToSql};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::Value as Json;
use uuid::Uuid;

use super::cell::{Cell, Comparison, Value};

/// A type of column.
pub(super) struct Kind {
    pub(super) ty: &'static str,
    pub(super) values: BoxedStrategy<Cell>,
    is_text: bool,
}

impl Kind {
    /// A parameter for it: PostgreSQL reads the text where Rust has no type.
    pub(super) fn placeholder(&self, number: usize) -> String {
        if self.is_text { format!("${number}::text::{}", self.ty) } else { format!("${number}") }
    }
}

/// The types that have to be created.
pub(super) const SCHEMA: &str = "
    create extension hstore;
    create type mood as enum ('', 'sad', 'so-so', 'happy \u{1F49A}');
    create domain email as text check (value like '%@%');
    create domain few as int[] check (cardinality(value) < 100);
    create type address as (street text, number int, moods mood[]);
    create type person as (name email, home address, \"other homes\" address[]);
    create type mood_range as range (subtype = mood)";

#[derive(Debug, Clone, Copy, PartialEq, ToSql, FromSql)]
#[postgres(name = "mood")]
enum Mood {
    #[postgres(name = "")]
    None,
    #[postgres(name = "sad")]
    Sad,
    #[postgres(name = "so-so")]
    SoSo,
    #[postgres(name = "happy \u{1F49A}")]
    Happy,
}

#[derive(Debug, Clone, PartialEq, ToSql, FromSql)]
#[postgres(name = "email")]
struct Email(String);

#[derive(Debug, Clone, PartialEq, ToSql, FromSql)]
#[postgres(name = "few")]
struct Few(Vec<Option<i32>>);

#[derive(Debug, Clone, PartialEq, ToSql, FromSql)]
#[postgres(name = "address")]
struct Address {
    street: Option<String>,
    number: Option<i32>,
    moods: Option<Vec<Option<Mood>>>,
}

#[derive(Debug, Clone, PartialEq, ToSql, FromSql)]
#[postgres(name = "person")]
struct Person {
    name: Option<Email>,
    home: Option<Address>,
    #[postgres(name = "other homes")]
    other_homes: Option<Vec<Option<Address>>>,
}

pub(super) fn all() -> Vec<Kind> {
    [plain(), times(), applications(), collections(), texts()].into_iter().flatten().collect()
}

/// Values that are stored as the bits that they are sent as.
fn exact<T>(ty: &'static str, values: impl Strategy<Value = T> + 'static) -> Kind
where
    T: Debug + Clone + 'static,
    Option<T>: Value,
{
    typed(ty, values, Comparison::Bits)
}

/// Values that PostgreSQL brings into a form of its own.
fn equal<T>(ty: &'static str, values: impl Strategy<Value = T> + 'static) -> Kind
where
    T: Debug + Clone + 'static,
    Option<T>: Value,
{
    typed(ty, values, Comparison::Value)
}

fn typed<T>(ty: &'static str, values: impl Strategy<Value = T> + 'static, comparison: Comparison) -> Kind
where
    T: Debug + Clone + 'static,
    Option<T>: Value,
{
    let values = option::weighted(NOT_NULL, values).prop_map(move |value| Cell::new(value, comparison));
    Kind { ty, values: values.boxed(), is_text: false }
}

/// Values of a type that Rust does not have, as PostgreSQL reads them.
fn text(ty: &'static str, values: impl Strategy<Value = String> + 'static) -> Kind {
    let values = option::weighted(NOT_NULL, values).prop_map(|value| Cell::new(value, Comparison::None));
    Kind { ty, values: values.boxed(), is_text: true }
}

fn plain() -> Vec<Kind> {
    vec![
        exact("bool", any::<bool>()),
        exact("\"char\"", any::<i8>()),
        exact("smallint", prop_oneof![Just(i16::MIN), Just(i16::MAX), any::<i16>()]),
        exact("integer", prop_oneof![Just(i32::MIN), Just(i32::MAX), any::<i32>()]),
        exact("bigint", prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()]),
        exact("oid", any::<u32>()),
        // All bit patterns: every NaN, both zeros, denormal numbers.
        exact("real", prop_oneof![floats().prop_map(|value| value as f32), any::<u32>().prop_map(f32::from_bits)]),
        exact("double precision", prop_oneof![floats(), any::<u64>().prop_map(f64::from_bits)]),
        exact("text", strings(0..=200)),
        exact("varchar", strings(0..=20)),
        equal("char(20)", "[a-z\u{E4}\u{1F49A}]{20}"),
        exact("name", strings(0..=15)),
        exact("bytea", vec(any::<u8>(), 0..2_000)),
        exact("uuid", any::<u128>().prop_map(Uuid::from_u128)),
        exact("json", json()),
        equal("jsonb", json()),
        equal("numeric", decimals()),
        exact("inet", any::<IpAddr>()),
        exact("pg_lsn", any::<u64>().prop_map(PgLsn::from)),
        equal("hstore", hash_map(strings(0..=10), option::of(strings(0..=10)), 0..5)),
    ]
}

fn times() -> Vec<Kind> {
    let chrono_day = |day: i64| chrono_epoch().date() + chrono::Duration::days(day);
    let chrono_time = |micros: i64| chrono_epoch() + chrono::Duration::microseconds(micros);
    let time_epoch = time::OffsetDateTime::from_unix_timestamp(POSTGRES_EPOCH).unwrap();
    let time_time = move |micros: i64| time_epoch + time::Duration::microseconds(micros);
    let jiff_time = |micros: i64| jiff::Timestamp::from_microsecond(POSTGRES_EPOCH * 1_000_000 + micros).unwrap();
    let midnight = chrono::NaiveTime::MIN;
    vec![
        exact(
            "date",
            prop_oneof![
                Just(Date::PosInfinity),
                Just(Date::NegInfinity),
                extremes(DAYS).prop_map(move |day| Date::Value(chrono_day(day))),
            ],
        ),
        exact("time", extremes(TIMES).prop_map(move |micros| midnight + chrono::Duration::microseconds(micros))),
        exact(
            "timestamp",
            prop_oneof![
                Just(Timestamp::PosInfinity),
                Just(Timestamp::NegInfinity),
                extremes(MICROS).prop_map(move |micros| Timestamp::Value(chrono_time(micros))),
            ],
        ),
        exact("timestamptz", extremes(MICROS).prop_map(move |micros| chrono_time(micros).and_utc())),
        exact("timestamptz", extremes(MICROS_OF_FOUR_DIGITS).prop_map(time_time)),
        exact(
            "timestamp",
            extremes(MICROS_OF_FOUR_DIGITS).prop_map(move |micros| {
                let at = time_time(micros);
                time::PrimitiveDateTime::new(at.date(), at.time())
            }),
        ),
        exact("timestamptz", extremes(MICROS_OF_FOUR_DIGITS).prop_map(jiff_time)),
        exact(
            "timestamp",
            extremes(MICROS_OF_FOUR_DIGITS)
                .prop_map(move |micros| jiff_time(micros).to_zoned(jiff::tz::TimeZone::UTC).datetime()),
        ),
    ]
}

fn applications() -> Vec<Kind> {
    vec![
        exact("mood", moods()),
        // In a row a domain is the type that it is over.
        equal("email", emails()),
        equal("few", vec(option::of(any::<i32>()), 0..5).prop_map(Few)),
        equal("address", addresses()),
        equal("person", people()),
        text("mood_range", Just("[sad,so-so]".to_owned())),
    ]
}

fn collections() -> Vec<Kind> {
    vec![
        equal("bool[]", vec(option::of(any::<bool>()), 0..10)),
        equal("integer[]", vec(option::of(any::<i32>()), 0..10)),
        equal("bigint[]", vec(prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()], 0..10)),
        equal("text[]", vec(option::of(strings(0..=10)), 0..10)),
        equal("bytea[]", vec(option::of(vec(any::<u8>(), 0..20)), 0..10)),
        equal("uuid[]", vec(option::of(any::<u128>().prop_map(Uuid::from_u128)), 0..5)),
        equal("numeric[]", vec(option::of(decimals()), 0..5)),
        equal("json[]", vec(option::of(json()), 0..3)),
        equal("mood[]", vec(option::of(moods()), 0..5)),
        equal("email[]", vec(option::of(emails()), 0..5)),
        equal("address[]", vec(option::of(addresses()), 0..5)),
        text("integer[]", nested(any::<i32>().prop_map(|value| value.to_string()))),
        text("text[]", nested("[a-z ]{0,5}".prop_map(|value| format!("\"{value}\"")))),
        text("mood[]", nested(Just("so-so".to_owned()))),
        // Indices may begin anywhere.
        text(
            "integer[]",
            (-9..9, any::<[i16; 2]>()).prop_map(|(from, [a, b])| format!("[{from}:{}]={{{a},{b}}}", from + 1)),
        ),
    ]
}

fn texts() -> Vec<Kind> {
    vec![
        text(
            "interval",
            // PostgreSQL 14 reads no more seconds than fit into 32 bits.
            (any::<i32>(), any::<i32>(), any::<i32>(), 0..1_000_000).prop_map(|(months, days, seconds, micros)| {
                format!("{months} months {days} days {seconds}.{micros:06} seconds")
            }),
        ),
        text("numeric", prop_oneof!["-?[0-9]{1,1000}", "-?[0-9]{0,200}[.][0-9]{1,500}", "NaN|Infinity|-Infinity"]),
        text("numeric(10, 3)", "-?[0-9]{1,6}[.][0-9]{0,5}"),
        text("timetz", "(0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?[-+](0[0-9]|1[0-4]):[0-5][0-9]"),
        text("int4range", ranges((-1_000..1_000_i64).boxed())),
        text("int8range", ranges((-(1_i64 << 62)..1_i64 << 62).boxed())),
        text("numrange", ranges((-1_000..1_000_i64).boxed())),
        text(
            "int4multirange",
            vec(0..100_i32, 0..4).prop_map(|starts| {
                let parts: Vec<_> = starts.iter().map(|start| format!("[{start},{}]", start + 10)).collect();
                format!("{{{}}}", parts.join(","))
            }),
        ),
        text("daterange", "\\[2026-0[1-9]-01,2027-01-01\\)|empty|\\(,\\)|\\[infinity,\\]"),
        text("varbit", "[01]{0,100}"),
        text("bit(9)", "[01]{9}"),
        text("macaddr", "([0-9a-f]{2}:){5}[0-9a-f]{2}"),
        text("macaddr8", "([0-9a-f]{2}:){7}[0-9a-f]{2}"),
        text("cidr", "10[.][1-9][0-9]?[.]0[.]0/16"),
        text("point", "\\(-?[0-9]{1,9},[0-9]{1,3}e-?[0-9]{1,2}\\)"),
        text("polygon", "\\(\\([0-9],[0-9]\\),\\([0-9],[0-9]\\),\\([0-9],[0-9]\\)\\)"),
        text("tsvector", "([a-z]{1,9}(:[1-9][0-9]{0,2}[A-D]?)? ){0,6}"),
        text("tsquery", "[a-z]{1,5} & ![a-z]{1,5} \\| [a-z]{1,5}:[*]"),
        text("jsonpath", "[$][.]\"[a-z]{1,5}\"\\[[1-9][0-9]{0,2}\\]"),
        text("money", "-?[0-9]{1,12}[.][0-9]{2}"),
        text("xid8", any::<u64>().prop_map(|value| value.to_string())),
        text("person", Just(r#"(a@b,"(""Main, 1"",,""{sad,happy 💚}"")",)"#.to_owned())),
    ]
}

fn floats() -> BoxedStrategy<f64> {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MIN, f64::MAX, f64::MIN_POSITIVE];
    prop_oneof![proptest::sample::select(values.to_vec()), any::<f64>()].boxed()
}

/// Of every plane of Unicode. PostgreSQL cannot store NUL.
fn strings(characters: RangeInclusive<usize>) -> BoxedStrategy<String> {
    let plane = (0_u32..=16, 0_u32..0x1_0000).prop_map(|(plane, offset)| char::from_u32((plane << 16) | offset));
    let character = prop_oneof![any::<char>(), plane.prop_map(|character| character.unwrap_or('\u{FFFD}'))];
    let character = character.prop_map(|character| if character == '\0' { '\u{1}' } else { character });
    vec(character, characters).prop_map(String::from_iter).boxed()
}

fn json() -> BoxedStrategy<Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        strings(0..=10).prop_map(Json::from),
    ];
    let tree = leaf.prop_recursive(6, 30, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::from),
            hash_map(strings(0..=5), inner, 0..4).prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    });
    // serde_json reads no deeper than 128.
    let deep = (1..120_u32).prop_map(|depth| (0..depth).fold(Json::Null, |inner, _| Json::from(vec![inner])));
    prop_oneof![4 => tree, 1 => deep].boxed()
}

fn decimals() -> BoxedStrategy<Decimal> {
    let mantissa = prop_oneof![Just(MAX_MANTISSA), Just(-MAX_MANTISSA), Just(0), -MAX_MANTISSA..=MAX_MANTISSA];
    (mantissa, 0..=28_u32).prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa, scale)).boxed()
}

fn moods() -> BoxedStrategy<Mood> {
    proptest::sample::select(vec![Mood::None, Mood::Sad, Mood::SoSo, Mood::Happy]).boxed()
}

fn emails() -> BoxedStrategy<Email> {
    (strings(0..=10), strings(0..=10)).prop_map(|(name, host)| Email(format!("{name}@{host}"))).boxed()
}

fn addresses() -> BoxedStrategy<Address> {
    (option::of(strings(0..=10)), option::of(any::<i32>()), option::of(vec(option::of(moods()), 0..4)))
        .prop_map(|(street, number, moods)| Address { street, number, moods })
        .boxed()
}

fn people() -> BoxedStrategy<Person> {
    (option::of(emails()), option::of(addresses()), option::of(vec(option::of(addresses()), 0..3)))
        .prop_map(|(name, home, other_homes)| Person { name, home, other_homes })
        .boxed()
}

/// Arrays of up to three dimensions; the parts of each have the same size, as PostgreSQL wants them.
fn nested(element: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    let element = prop_oneof![4 => element, 1 => Just("NULL".to_owned())].boxed();
    let group = |inner: BoxedStrategy<String>, size: usize| {
        vec(inner, size).prop_map(|parts| format!("{{{}}}", parts.join(","))).boxed()
    };
    vec(1..4_usize, 1..4)
        .prop_flat_map(move |sizes| sizes.iter().fold(element.clone(), |inner, &size| group(inner, size)))
        .boxed()
}

fn ranges(bounds: BoxedStrategy<i64>) -> BoxedStrategy<String> {
    let bounds = (bounds.clone(), bounds, "[\\[(]", "[\\])]");
    let range = bounds.prop_map(|(a, b, open, close)| format!("{open}{},{}{close}", a.min(b), a.max(b)));
    prop_oneof![5 => range, 1 => Just("empty".to_owned()), 1 => Just("(,)".to_owned()), 1 => Just("[7,)".to_owned())]
        .boxed()
}

fn extremes(range: RangeInclusive<i64>) -> BoxedStrategy<i64> {
    let (first, last) = (*range.start(), *range.end());
    prop_oneof![Just(first), Just(last), Just(0), Just(first.max(-1)), range].boxed()
}

fn chrono_epoch() -> chrono::NaiveDateTime {
    chrono::DateTime::from_timestamp(POSTGRES_EPOCH, 0).unwrap().naive_utc()
}

/// 2000-01-01 in seconds of Unix time. The limits below count from it.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// From 4714-11-24 BC, the first day of PostgreSQL, to the year 262,000, the last of chrono.
const DAYS: RangeInclusive<i64> = -2_451_545..=94_900_000;

/// `DAYS` in microseconds.
const MICROS: RangeInclusive<i64> = -211_813_488_000_000_000..=8_199_000_000_000_000_000;

/// From 4714-11-24 BC to the end of the year 9999, the last of time and jiff.
const MICROS_OF_FOUR_DIGITS: RangeInclusive<i64> = -211_813_488_000_000_000..=252_455_000_000_000_000;

/// Of a day, in microseconds.
const TIMES: RangeInclusive<i64> = 0..=86_399_999_999;

/// The largest mantissa of a rust_decimal.
const MAX_MANTISSA: i128 = (1 << 96) - 1;

const NOT_NULL: f64 = 0.9;
