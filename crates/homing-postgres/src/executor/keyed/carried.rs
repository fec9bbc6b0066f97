//! The SQL of a statement that carries the claim of its key, and the rows that the key keeps.
//!
//! A statement that returns the rows that it writes needs no transaction block for its claim: both are parts of one statement,
//! which is a transaction by itself. The database does half as much for it as for `BEGIN`, statement, claim and `COMMIT`.

use bytes::{Buf, Bytes, BytesMut};
use homing_proto::v1 as proto;
use prost::Message;

use crate::outcome::MAX_RESULT_BYTES;
use crate::statement::values;

/// How many columns [`sql`] adds behind those of the statement: whether there is a row, and the id of the transaction if the key
/// was claimed.
pub(crate) const ADDED_COLUMNS: usize = 2;

/// How many parameters [`sql`] adds behind those of the statement: the key and the fingerprint.
pub(crate) const ADDED_PARAMETERS: usize = 2;

/// Returns the SQL of a statement with so many parameters that carries the claim of a generated key in `slot`.
///
/// - All rows are written before the claim is made, since it counts them, and [`with` queries run to their
///   end](https://www.postgresql.org/docs/current/queries-with.html#QUERIES-WITH-MODIFYING).
/// - There is one row at least, so that the id of the transaction gets to the caller.
/// - Nothing is claimed if nothing was written. A trigger for the end of the statement runs after the claim, and may write
///   although no row was written: if the database has any, the key is claimed in any case.
pub(crate) fn sql(statement: &str, parameters: usize, slot: i16) -> String {
    let (key, fingerprint) = (parameters + 1, parameters + 2);
    format!(
        "with homing_rows as (\n{statement}\n), \
         homing_written as materialized (\
         select pg_catalog.sum(pg_catalog.pg_column_size(homing_rows)) as size, \
         pg_catalog.pg_current_xact_id_if_assigned() as id from homing_rows), \
         homing_claim as (\
         insert into homing.outcome_{slot} (slot, key, fingerprint, result) \
         select {slot}, ${key}::uuid, ${fingerprint}::bigint, \
         case when size operator(pg_catalog.>) {MAX_RESULT_BYTES} then null else (\
         select coalesce(pg_catalog.string_agg(pg_catalog.record_send(homing_rows), ''), '') from homing_rows) end \
         from homing_written where id is not null or size is not null or exists (\
         select from pg_catalog.pg_trigger where (tgtype operator(pg_catalog.&) 67::smallint) operator(pg_catalog.=) 0) \
         returning pg_catalog.pg_current_xact_id() as id) \
         select homing_found.*, homing_claim.id from (select) as one \
         left join (select homing_rows.*, true from homing_rows) as homing_found on true \
         left join homing_claim on true"
    )
}

/// Reads the results that were kept with a key: those of a request, or the rows of a statement that carried its claim.
pub(crate) fn kept(result: &[u8]) -> Option<proto::StatementResults> {
    match result.first() {
        // No message begins with a zero, and each row does.
        None | Some(0) => {
            let rows = rows(Bytes::copy_from_slice(result))?;
            let results = vec![proto::StatementResult { rows_affected: rows.len() as u64, rows }];
            Some(proto::StatementResults { results, rows_dropped: false })
        }
        Some(_) => proto::StatementResults::decode(result).ok(),
    }
}

/// Reads the rows that PostgreSQL's `record_send` has written: each is the number of its columns, and of each column the type, the
/// length and the value.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/rowtypes.c>
fn rows(mut records: Bytes) -> Option<Vec<Bytes>> {
    let mut rows = Vec::new();
    while records.has_remaining() {
        let mut row = BytesMut::new();
        for _ in 0..records.try_get_i32().ok()? {
            let _type = records.try_get_u32().ok()?;
            let value = match usize::try_from(records.try_get_i32().ok()?) {
                Ok(length) if length > records.len() => return None,
                Ok(length) => Some(records.split_to(length)),
                Err(_) => None,
            };
            values::put(&mut row, value.as_deref());
        }
        rows.push(row.freeze());
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use homing_testbed::Postgres;

    use super::*;

    #[tokio::test]
    async fn kept_records_are_read_as_rows() {
        let server = Postgres::options().start().await.unwrap();
        let client = server.connect().await.unwrap();
        let sql = "select string_agg(record_send(r), '') from (values (7, 'Ada', null::bytea), (8, '', '\\x00')) as r";
        let records: Vec<u8> = client.query_one(sql, &[]).await.unwrap().get(0);
        let results = kept(&records).unwrap().results;
        let of = |number: i32, name: &str, bytes: Option<&[u8]>| {
            let mut list = BytesMut::new();
            values::put(&mut list, Some(&number.to_be_bytes()));
            values::put(&mut list, Some(name.as_bytes()));
            values::put(&mut list, bytes);
            list.freeze()
        };
        let rows = vec![of(7, "Ada", None), of(8, "", Some(&[0]))];
        assert_eq!(results, [proto::StatementResult { rows_affected: 2, rows }]);
        for length in [3, 7, 11, 13, records.len() - 1] {
            assert_eq!(kept(&records[..length]), None, "{length}");
        }
    }

    #[test]
    fn kept_results_are_read_back() {
        for results in
            [vec![proto::StatementResult { rows_affected: 3, rows: Vec::new() }], vec![Default::default(); 2]]
        {
            let results = proto::StatementResults { results, rows_dropped: false };
            assert_eq!(kept(&results.encode_to_vec()), Some(results));
        }
        let none = proto::StatementResults { results: vec![Default::default()], rows_dropped: false };
        assert_eq!(kept(&[]), Some(none));
    }
}
