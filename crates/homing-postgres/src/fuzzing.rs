//! Targets of `fuzz/`: what this crate does with bytes from elsewhere, up to a connection to PostgreSQL.
//!
//! A target takes any bytes. It panics if the code does, or if what must hold does not.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use homing_proto::v1 as proto;
use homing_rpc::{Region, Secret};
use prost::Message;
use proto::copy_in_request::Part;
use proto::execute_response::Outcome;
use proto::transact_response::Outcome as StepOutcome;
use tokio_postgres::types::{FromSql, Type};

use crate::connection::string::ConnectionString;
use crate::error::Error;
use crate::error::database::DatabaseError;
use crate::executor::fuzzing as executor;
use crate::position::Position;
use crate::position::lsn::Lsn;
use crate::primary::rejection::rejected;
use crate::replicas::ReplicaList;
use crate::session::token::{Token, TokenKey};
use crate::statement::columns::{Column, Columns};
use crate::statement::copy::{check_copy, copy_direction};
use crate::statement::description::StatementDescription;
use crate::statement::numeric::Numeric;
use crate::statement::row::Row;
use crate::statement::{sql, values};

/// Reads a request of a peer. The first byte chooses which.
pub fn requests(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 5 {
        0 => drop(proto::ExecuteRequest::decode(bytes).map(|request| executor::execute(&request))),
        1 => drop(proto::TransactRequest::decode(bytes).map(|request| executor::transact(&request))),
        2 => drop(proto::QueryRequest::decode(bytes).map(|request| {
            let schema = executor::scope(&request.database, &request.session);
            executor::statements(schema.as_ref(), request.statement.as_slice());
        })),
        3 => drop(proto::PrepareRequest::decode(bytes).map(|request| executor::scope(&request.database, &[]))),
        _ => drop(proto::CopyInRequest::decode(bytes).map(|request| {
            if let Some(Part::Begin(begin)) = request.part {
                executor::scope(&begin.database, &begin.session);
                assert!(begin.sql.starts_with(sql::shown(&begin.sql)));
            }
        })),
    }
}

/// Reads an answer of a peer. The first byte chooses which.
pub fn responses(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 6 {
        0 => drop(proto::ExecuteResponse::decode(bytes).map(|response| {
            check_position(response.position.as_ref());
            match response.outcome {
                Some(Outcome::Results(results)) => {
                    results.results.into_iter().for_each(|result| check_rows(result.rows));
                }
                Some(Outcome::Rejection(rejection)) => check_rejection(rejection),
                None => {}
            }
        })),
        1 => drop(proto::TransactResponse::decode(bytes).map(|response| match response.outcome {
            Some(StepOutcome::Results(results)) => {
                results.results.into_iter().for_each(|result| check_rows(result.rows));
            }
            Some(StepOutcome::Rejection(rejection)) => check_rejection(rejection),
            _ => {}
        })),
        2 => drop(proto::QueryPart::decode(bytes).map(|part| {
            check_position(part.position.as_ref());
            check_rows(part.rows);
            part.rejection.into_iter().for_each(check_rejection);
        })),
        3 => drop(proto::PreparedStatement::decode(bytes).map(|statement| {
            if let Some(description) = StatementDescription::from_proto(statement) {
                let again = StatementDescription::from_proto(description.to_proto());
                assert_eq!(again.as_ref(), Some(&description));
            }
        })),
        4 => drop(proto::DatabaseError::decode(bytes).map(|error| {
            let error = DatabaseError::from_proto(error);
            let _ = (error.to_string(), error.to_proto(), error.may_be_stale());
        })),
        _ => drop(proto::Position::decode(bytes).map(|position| check_position(Some(&position)))),
    }
}

fn check_position(message: Option<&proto::Position>) {
    if let Some(position) = message.and_then(Position::from_proto) {
        assert_eq!(Position::from_proto(&position.to_proto("")), Some(position));
        let _ = (position.to_string(), format!("{position:?}"));
    }
}

fn check_rows(rows: Vec<Bytes>) {
    let columns = Arc::new(Columns::from_iter([Column::new("id", Type::INT8), Column::new("name", Type::TEXT)]));
    if let Ok(rows) = Row::all_forwarded(&columns, rows) {
        for row in rows {
            let _ = (row.try_get::<_, i64>("id"), row.try_get::<_, Option<&str>>(1), row.try_get::<_, i64>(2));
        }
    }
}

fn check_rejection(rejection: proto::Rejection) {
    let error = rejected(rejection, "the primary");
    let _ = (error.to_string(), format!("{error:?}"), error.fate(), error.client_message());
}

/// Opens tokens: by the first byte, any text, or any contents that are sealed with the right key.
pub fn tokens(input: &[u8]) {
    static KEY: LazyLock<TokenKey> =
        LazyLock::new(|| TokenKey::of_secret(&Secret::new("0123456789abcdef0123456789abcdef").expect("a secret")));
    let Some((kind, bytes)) = input.split_first() else { return };
    let text = match kind % 3 {
        0 => String::from_utf8_lossy(bytes).into_owned(),
        1 => URL_SAFE_NO_PAD.encode(bytes),
        _ => Token::seal_contents(bytes, &KEY).as_str().to_owned(),
    };
    assert!(text.parse::<Token>().is_ok_and(|token| token.as_str() == text) || text.parse::<Token>().is_err());
    let Ok(positions) = Token::open(&text, &KEY) else { return };
    let again = Token::seal(&positions, &KEY);
    match Token::open(again.as_str(), &KEY) {
        Ok(opened) => assert_eq!(opened, positions),
        // Contents may be shorter than this build writes them.
        Err(error) => assert!(error.is_token_refused() && again.as_str().len() > text.len(), "{error}"),
    }
}

/// Splits lists of values and decodes them. The first byte is the number of values, the next ones choose their types.
pub fn values(input: &[u8]) {
    let Some((&count, bytes)) = input.split_first() else { return };
    let count = usize::from(count % 16);
    let Some((types, list)) = bytes.split_at_checked(count) else { return };
    let list = Bytes::copy_from_slice(list);
    let split = values::split(list.clone(), count);
    if let Some(split) = &split {
        let mut again = BytesMut::new();
        split.iter().for_each(|value| values::put(&mut again, value.as_deref()));
        assert_eq!(again, list);
    }
    let types = types.iter().map(|&number| TYPES[usize::from(number) % TYPES.len()].clone());
    let columns = Arc::new(Columns::from_iter(types.map(|ty| Column::new("value", ty))));
    let row = Row::all_forwarded(&columns, vec![list]);
    assert_eq!(row.is_ok(), split.is_some());
    for row in row.into_iter().flatten() {
        (0..count).for_each(|index| read(&row, index));
    }
}

/// Reads a value as each Rust type that may take it.
fn read(row: &Row, index: usize) {
    as_type::<bool>(row, index);
    as_type::<i8>(row, index);
    as_type::<i16>(row, index);
    as_type::<i32>(row, index);
    as_type::<u32>(row, index);
    as_type::<i64>(row, index);
    as_type::<f32>(row, index);
    as_type::<f64>(row, index);
    as_type::<&str>(row, index);
    as_type::<&[u8]>(row, index);
    as_type::<SystemTime>(row, index);
    as_type::<HashMap<String, Option<String>>>(row, index);
    as_type::<Lsn>(row, index);
    if let Ok(numeric) = row.try_get::<_, Numeric>(index) {
        let number = numeric.to_f64();
        if let Some(whole) = numeric.to_i64() {
            assert!((number - whole as f64).abs() <= 1.0, "{number} {whole}");
        }
    }
}

fn as_type<'a, T: FromSql<'a>>(row: &'a Row, index: usize) {
    let _ = row.try_get::<_, Option<T>>(index);
}

/// Without arrays: the driver reserves memory for as many elements as an array says it has.
const TYPES: [Type; 14] = [
    Type::BOOL,
    Type::CHAR,
    Type::INT2,
    Type::INT4,
    Type::OID,
    Type::INT8,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::TEXT,
    Type::VARCHAR,
    Type::BYTEA,
    Type::TIMESTAMPTZ,
    Type::NUMERIC,
    Type::PG_LSN,
];

/// Reads the words of a statement.
pub fn sql(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    assert!(text.starts_with(sql::shown(text)));
    assert!(sql::names(text).iter().all(|name| name.len() <= text.len()));
    let _ = (sql::may_change_schema(text), sql::may_read(text), sql::sets_by_function(text), sql::runs_in_block(text));
    let _ = (sql::destination(text), sql::destination_in_transaction(text), sql::check_script_in_transaction(text));
    assert_eq!(check_copy(text).is_err(), copy_direction(text).is_some());
}

/// Reads connection strings and lists of replicas. The first byte chooses which.
pub fn connections(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let text = &*String::from_utf8_lossy(bytes);
    // A connection string may name files, and not all files end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let check = |error: &Error| assert!(error.is_configuration() || error.is_misuse(), "{error:?}");
    match kind % 4 {
        0 => match ConnectionString::parse(text, "DATABASE_URL") {
            Ok(string) => drop((string.name(), string.targets().len(), string.session_attrs(), format!("{string:?}"))),
            Err(error) => check(&error),
        },
        1 => match ReplicaList::parse(text, "HOMING_REPLICA_URL") {
            Ok(list) => assert!(list.names().iter().all(|name| !name.is_empty())),
            Err(error) => check(&error),
        },
        2 => {
            let regions = ["iad", "syd"].map(|name| Region::new(name).expect("a region"));
            let _ = ReplicaList::for_regions(text, regions, "HOMING_REPLICA_URL").inspect_err(check);
        }
        _ => {
            if let Ok(lsn) = text.parse::<Lsn>() {
                assert_eq!(lsn.to_string().parse(), Ok(lsn));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use homing_testbed::fuzz;

    fn seeds(target: &str) -> String {
        format!("{}/../../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn requests_are_read_without_panic() {
        fuzz(seeds("requests"), super::requests);
    }

    #[test]
    fn responses_are_read_without_panic() {
        fuzz(seeds("responses"), super::responses);
    }

    #[test]
    fn tokens_are_opened_without_panic() {
        fuzz(seeds("tokens"), super::tokens);
    }

    #[test]
    fn values_are_read_without_panic() {
        fuzz(seeds("values"), super::values);
    }

    #[test]
    fn sql_is_read_without_panic() {
        fuzz(seeds("sql"), super::sql);
    }

    #[test]
    fn connections_are_read_without_panic() {
        fuzz(seeds("connections"), super::connections);
    }
}
