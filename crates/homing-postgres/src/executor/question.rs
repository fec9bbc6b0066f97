//! The question for the position of a primary, as a request.

use homing_proto::v1 as proto;
use tokio_postgres::types::Type;

/// Returns a statement that asks nothing of the server but an answer, and so its position. Its types are known, so that nothing
/// has to be described.
pub(crate) fn select_one() -> proto::Statement {
    let column_types = vec![Type::INT4.oid()];
    proto::Statement { sql: "select 1".to_owned(), column_types, ..proto::Statement::default() }
}

/// Returns whether a request only asks for the position: it has that statement alone, without local settings.
pub(crate) fn asks_for_position(request: &proto::ExecuteRequest) -> bool {
    let is_plain = !request.database.contains(['?', '/']);
    is_plain && matches!(&request.statements[..], [only] if *only == select_one())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    #[test]
    fn only_the_position_question_asks_for_position() {
        let plain = proto::ExecuteRequest { statements: vec![select_one()], ..Default::default() };
        let named = proto::ExecuteRequest { database: "analytics".into(), ..plain.clone() };
        let asking = proto::ExecuteRequest { session: vec![Position::new(1, 1, 1).to_proto("")], ..plain.clone() };
        assert!([&plain, &named, &asking].into_iter().all(asks_for_position));
        let statement = |change: fn(&mut proto::Statement)| {
            let mut changed = select_one();
            change(&mut changed);
            proto::ExecuteRequest { statements: vec![changed], ..Default::default() }
        };
        let two = vec![select_one(), select_one()];
        for other in [
            proto::ExecuteRequest::default(),
            proto::ExecuteRequest { statements: two, ..Default::default() },
            proto::ExecuteRequest { database: "/tenant_7".into(), ..plain.clone() },
            proto::ExecuteRequest { database: "?role=YXBw".into(), ..plain.clone() },
            statement(|statement| statement.sql.push(';')),
            statement(|statement| statement.sql = "select pg_sleep(1)".into()),
            statement(|statement| statement.simple = true),
            statement(|statement| statement.column_types.clear()),
        ] {
            assert!(!asks_for_position(&other), "{other:?}");
        }
    }
}
