//! The fingerprint of a request, which tells two requests with the same key apart.

use homing_proto::v1 as proto;
use homing_rpc::fingerprint_of;

/// Returns the fingerprint of a request: that of its database with schema and settings, its statements and their parameters.
pub(crate) fn of_request(request: &proto::ExecuteRequest) -> i64 {
    let statements = request.statements.iter().flat_map(|statement| [statement.sql.as_bytes(), &statement.parameters]);
    fingerprint_of(std::iter::once(request.database.as_bytes()).chain(statements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_request_has_other_fingerprint() {
        let statement = |sql: &str, parameters: &'static [u8]| proto::Statement {
            sql: sql.into(),
            parameters: parameters.into(),
            ..Default::default()
        };
        let request = |database: &str, statements| {
            of_request(&proto::ExecuteRequest { database: database.into(), statements, ..Default::default() })
        };
        let all = [
            request("", vec![statement("a", b"b")]),
            request("", vec![statement("ab", b"")]),
            request("", vec![statement("a", b"c")]),
            request("a", vec![statement("", b"b")]),
            request("/tenant", vec![statement("a", b"b")]),
            request("", vec![statement("a", b"b"), statement("", b"")]),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all[0], request("", vec![statement("a", b"b")]));
    }
}
