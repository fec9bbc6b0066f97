//! Looks at requests as the executor does before it uses a connection.

use homing_proto::v1 as proto;
use proto::transact_request::Step;

use super::history::positions;
use super::interactive::commands::{begin_sql, savepoint_sql};
use super::prepared::parameters;
use super::question::asks_for_position;
use super::references::FirstRows;
use crate::outcome::once::Once;
use crate::scope::Scope;
use crate::scope::schema::{Schema, tagged};
use crate::statement::description::hash_of_names;
use crate::statement::sql::shown;

/// Checks what begins each transaction of a scope, and how many of the positions can be read.
pub(crate) fn scope(wire: &str, session: &[proto::Position]) -> Option<Schema> {
    assert!(positions(session).len() <= session.len());
    let scope = Scope::from_wire(wire).ok()?;
    assert_eq!(Scope::from_wire(&scope.to_wire()).expect("it was valid"), scope);
    let local = scope.local;
    assert_eq!(local.settings.names().len(), local.settings.values().len());
    assert!(local.settings.values().iter().all(|value| !value.contains('\0')));
    if let Some(schema) = &local.schema {
        check_schema(schema);
    }
    local.schema
}

pub(crate) fn execute(request: &proto::ExecuteRequest) {
    let schema = scope(&request.database, &request.session);
    let _ = asks_for_position(request);
    statements(schema.as_ref(), &request.statements);
}

pub(crate) fn transact(request: &proto::TransactRequest) {
    if let Some(begin) = &request.begin {
        scope(&begin.database, &begin.session);
        assert!(begin_sql(begin).starts_with("BEGIN"));
        if let Some(once) = begin.once.as_ref().and_then(Once::from_proto) {
            assert!((0..=8).contains(&once.key.slot()));
        }
    }
    for command in request.savepoints.iter().filter_map(|command| command.command) {
        let sql = savepoint_sql(&command);
        assert!(sql.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" _;".contains(&byte)), "{sql}");
    }
    let schema = Schema::new(&request.schema).ok();
    if let Some(schema) = &schema {
        check_schema(schema);
    }
    match &request.step {
        Some(Step::Run(list)) => statements(schema.as_ref(), &list.statements),
        Some(Step::Prepare(sql)) => drop(tagged(schema.as_ref(), sql)),
        Some(Step::Commit(_) | Step::CommitOnce(_)) | None => {}
    }
}

pub(crate) fn statements(schema: Option<&Schema>, statements: &[proto::Statement]) {
    for statement in statements {
        assert!(statement.sql.starts_with(shown(&statement.sql)));
        assert!(tagged(schema, &statement.sql).starts_with(&statement.sql));
        let _ = hash_of_names(std::iter::once(&*statement.sql));
        let rows = FirstRows::wanted_by(&statement.references);
        if let Ok(parameters) = parameters(statement) {
            assert_eq!(parameters.len(), statement.parameter_types.len());
            // No row was offered.
            assert_eq!(rows.fill(&parameters, &statement.references).is_ok(), statement.references.is_empty());
        }
    }
}

/// The commands hold the name as one quoted identifier and nothing else of it.
fn check_schema(schema: &Schema) {
    let quoted = format!("\"{}\"", schema.name().replace('"', "\"\""));
    assert!(!schema.name().contains('\0') && !schema.name().is_empty());
    for command in [schema.begin(), schema.enter(), schema.enter_transaction()] {
        assert!(command.contains(&quoted), "{command}");
    }
}
