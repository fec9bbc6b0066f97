//! [`DatabaseError`], an error as PostgreSQL reported it.

use std::{error, fmt};

use homing_proto::v1 as proto;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

/// An error as PostgreSQL reported it, on the local server or on the primary.
///
/// The fields are those of PostgreSQL's [ErrorResponse]. A forwarded statement keeps them all: a violated constraint has
/// the same code, detail and name in Sydney as it has next to the primary.
///
/// `Display` and `{:?}` print message, SQLSTATE and hint. [`detail`](Self::detail) and [`context`](Self::context) may hold
/// values of rows, which may be a person's data: only these methods and `{:#?}` show them.
///
/// [ErrorResponse]: https://www.postgresql.org/docs/current/protocol-error-fields.html
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseError {
    severity: String,
    code: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<u32>,
    context: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    column: Option<String>,
    datatype: Option<String>,
    constraint: Option<String>,
    routine: Option<String>,
}

impl DatabaseError {
    /// Returns `ERROR`, `FATAL` or `PANIC`, in the language of the server.
    pub fn severity(&self) -> &str {
        &self.severity
    }

    /// Returns the SQLSTATE.
    pub fn code(&self) -> &SqlState {
        &self.code
    }

    /// Returns the primary message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns more about the problem, for example the values that violate a constraint.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Returns a suggestion what to do about the problem.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the place in the statement: the index of a character, counted from one.
    pub fn position(&self) -> Option<u32> {
        self.position
    }

    /// Returns the call stack of server-side functions.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Returns the schema of the object that the error is about.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Returns the table that the error is about.
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// Returns the column that the error is about.
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    /// Returns the data type that the error is about.
    pub fn datatype(&self) -> Option<&str> {
        self.datatype.as_deref()
    }

    /// Returns the constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    /// Returns the function of the server's source code that reported the error.
    pub fn routine(&self) -> Option<&str> {
        self.routine.as_deref()
    }

    /// Returns whether a prepared statement is stale, because its tables have changed, one of its types was dropped, or the
    /// server no longer has it. PostgreSQL finds this before it executes anything, so the statement may be prepared and run
    /// again.
    ///
    /// These SQLSTATEs have other meanings too, even in the middle of a procedure that has already committed. The name of
    /// the reporting routine tells them apart, as libpq's users do, or that no function is on the stack.
    /// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/cache/plancache.c>
    pub(crate) fn is_stale_plan(&self) -> bool {
        match &self.code {
            code if *code == SqlState::FEATURE_NOT_SUPPORTED => self.routine() == Some("RevalidateCachedQuery"),
            code if *code == SqlState::INVALID_SQL_STATEMENT_NAME => self.context.is_none(),
            // PostgreSQL does not translate messages about its own catalog.
            code if *code == SqlState::INTERNAL_ERROR => {
                self.context.is_none() && self.message.starts_with("cache lookup failed for type")
            }
            _ => false,
        }
    }

    /// Returns whether the error, if a statement that was prepared before caused it, may come from that: PostgreSQL analyses
    /// the statement again after a change of the schema, with the parameters' types of before. It does so before it executes
    /// anything.
    pub(crate) fn may_be_stale(&self) -> bool {
        let of_types = [
            SqlState::AMBIGUOUS_FUNCTION,
            SqlState::CANNOT_COERCE,
            SqlState::DATATYPE_MISMATCH,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_OBJECT,
        ];
        self.is_stale_plan() || self.context.is_none() && of_types.contains(&self.code)
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code.code())?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        let mut debug = f.debug_struct("DatabaseError");
        debug.field("severity", &self.severity).field("code", &self.code).field("message", &self.message);
        debug.field("detail", &self.detail).field("hint", &self.hint).field("position", &self.position);
        debug.field("context", &self.context).field("schema", &self.schema).field("table", &self.table);
        debug.field("column", &self.column).field("datatype", &self.datatype).field("constraint", &self.constraint);
        debug.field("routine", &self.routine).finish()
    }
}

impl error::Error for DatabaseError {}

impl From<&DbError> for DatabaseError {
    fn from(error: &DbError) -> Self {
        let owned = |field: Option<&str>| field.map(str::to_owned);
        Self {
            severity: error.severity().to_owned(),
            code: error.code().clone(),
            message: error.message().to_owned(),
            detail: owned(error.detail()),
            hint: owned(error.hint()),
            position: match error.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                // A place in an internal query is useless without that query.
                Some(ErrorPosition::Internal { .. }) | None => None,
            },
            context: owned(error.where_()),
            schema: owned(error.schema()),
            table: owned(error.table()),
            column: owned(error.column()),
            datatype: owned(error.datatype()),
            constraint: owned(error.constraint()),
            routine: owned(error.routine()),
        }
    }
}

impl DatabaseError {
    pub(crate) fn from_proto(error: proto::DatabaseError) -> Self {
        let present = |field: String| (!field.is_empty()).then_some(field);
        Self {
            severity: error.severity,
            code: SqlState::from_code(&error.code),
            message: error.message,
            detail: present(error.detail),
            hint: present(error.hint),
            position: error.position,
            context: present(error.r#where),
            schema: present(error.schema),
            table: present(error.table),
            column: present(error.column),
            datatype: present(error.datatype),
            constraint: present(error.constraint),
            routine: present(error.routine),
        }
    }

    pub(crate) fn to_proto(&self) -> proto::DatabaseError {
        proto::DatabaseError {
            severity: self.severity.clone(),
            code: self.code.code().to_owned(),
            message: self.message.clone(),
            detail: self.detail.clone().unwrap_or_default(),
            hint: self.hint.clone().unwrap_or_default(),
            position: self.position,
            r#where: self.context.clone().unwrap_or_default(),
            schema: self.schema.clone().unwrap_or_default(),
            table: self.table.clone().unwrap_or_default(),
            column: self.column.clone().unwrap_or_default(),
            datatype: self.datatype.clone().unwrap_or_default(),
            constraint: self.constraint.clone().unwrap_or_default(),
            routine: self.routine.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire() {
        let sent = proto::DatabaseError {
            severity: "ERROR".into(),
            code: "23505".into(),
            message: "duplicate key value violates unique constraint \"users_pkey\"".into(),
            detail: "Key (id)=(1) already exists.".into(),
            position: Some(7),
            constraint: "users_pkey".into(),
            ..Default::default()
        };
        let error = DatabaseError::from_proto(sent.clone());
        assert_eq!(error.code(), &SqlState::UNIQUE_VIOLATION);
        assert_eq!(error.constraint(), Some("users_pkey"));
        assert_eq!(error.hint(), None);
        assert_eq!(error.to_proto(), sent);
    }

    #[test]
    fn values_are_shown_on_request() {
        let error = DatabaseError::from_proto(proto::DatabaseError {
            code: "23514".into(),
            message: "new row violates a check".into(),
            detail: "Failing row contains (1, Ada).".into(),
            r#where: "COPY users, line 1: Ada".into(),
            hint: "Check it.".into(),
            ..Default::default()
        });
        let shown = "new row violates a check (SQLSTATE 23514); Check it.";
        assert_eq!((error.to_string(), format!("{error:?}")), (shown.to_owned(), shown.to_owned()));
        let all = format!("{error:#?}");
        assert!(all.contains("Failing row contains (1, Ada).") && all.contains("line 1: Ada"), "{all}");
    }
}
