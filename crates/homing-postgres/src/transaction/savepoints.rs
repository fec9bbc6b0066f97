//! The savepoints of a transaction: the outermost transaction itself, and one savepoint for each nested one. Without
//! IO.
//!
//! Savepoints cost no round trip: their commands wait for the next statement, and those of a savepoint in which nothing
//! ran are never sent.

use homing_proto::v1 as proto;
use proto::savepoint_command::Command;

use super::error::{Aborted, over};
use crate::error::{Error, Result};

/// The id of a savepoint. It is never used twice in one transaction, so that a handle of a savepoint that has ended
/// cannot be taken for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SavepointId(u32);

impl SavepointId {
    pub(crate) const OUTERMOST: Self = Self(0);
}

/// The savepoints of one transaction.
#[derive(Debug)]
pub(crate) struct Savepoints {
    /// From the outermost to the innermost; empty once the transaction has ended.
    open: Vec<SavepointId>,
    last: u32,
    pending: Vec<Command>,
    failure: Option<SavepointFailure>,
}

#[derive(Debug)]
struct SavepointFailure {
    /// How many savepoints were open. Rolling back to one of them removes the failure, except to the outermost.
    depth: usize,
    cause: Aborted,
}

impl Default for Savepoints {
    fn default() -> Self {
        Self { open: vec![SavepointId::OUTERMOST], last: 0, pending: Vec::new(), failure: None }
    }
}

impl Savepoints {
    /// Checks that a statement may run in that savepoint.
    pub(crate) fn check(&self, savepoint: SavepointId) -> Result<()> {
        self.check_open(savepoint)?;
        self.check_failure()
    }

    /// Checks that no statement has failed.
    pub(crate) fn check_failure(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.cause.error()))
    }

    /// Begins a savepoint within another one.
    pub(crate) fn enter(&mut self, outer: SavepointId) -> Result<SavepointId> {
        self.check(outer)?;
        self.last += 1;
        let savepoint = SavepointId(self.last);
        self.open.push(savepoint);
        self.pending.push(Command::Set(savepoint.0));
        Ok(savepoint)
    }

    /// Ends a savepoint and keeps its writes.
    ///
    /// # Errors
    ///
    /// Its statements failed, or a nested transaction is still open. The savepoint is then rolled back.
    pub(crate) fn keep(&mut self, savepoint: SavepointId) -> Result<()> {
        if let Err(error) = self.check(savepoint) {
            self.undo(savepoint);
            return Err(error);
        }
        self.open.pop();
        match self.unsent(savepoint) {
            // Nothing was executed since.
            Some(index) => self.pending.truncate(index),
            None => self.pending.push(Command::Release(savepoint.0)),
        }
        Ok(())
    }

    /// Ends a savepoint and those within it, and undoes its writes.
    pub(crate) fn undo(&mut self, savepoint: SavepointId) {
        let Some(depth) = self.open.iter().position(|open| *open == savepoint) else { return };
        self.open.truncate(depth);
        match self.unsent(savepoint) {
            Some(index) => self.pending.truncate(index),
            None => {
                // All pending commands are about savepoints within this one.
                self.pending.clear();
                self.pending.push(Command::RollBack(savepoint.0));
            }
        }
        if self.failure.as_ref().is_some_and(|failure| failure.depth > depth) {
            self.failure = None;
        }
    }

    /// Notes that a statement failed. Only undoing the innermost savepoint removes the failure.
    pub(crate) fn fail(&mut self, cause: Aborted) {
        let depth = self.open.len();
        // The first failure is the cause of the others.
        self.failure.get_or_insert(SavepointFailure { depth, cause });
    }

    /// Notes that the whole transaction failed.
    pub(crate) fn fail_for_good(&mut self, cause: Aborted) {
        self.failure = Some(SavepointFailure { depth: 0, cause });
    }

    pub(crate) fn is_failed_for_good(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.depth == 0)
    }

    /// Checks that the transaction can be committed, and keeps further statements from running.
    pub(crate) fn seal(&mut self) -> Result<()> {
        let sealed = self.check(SavepointId::OUTERMOST);
        self.end();
        sealed
    }

    pub(crate) fn end(&mut self) {
        self.open.clear();
    }

    /// Takes the commands that have to be sent with the next statement.
    pub(crate) fn take_pending(&mut self) -> Vec<proto::SavepointCommand> {
        self.pending.drain(..).map(|command| proto::SavepointCommand { command: Some(command) }).collect()
    }

    /// Puts commands back that were taken for a request which could not begin the transaction.
    pub(crate) fn put_back(&mut self, commands: Vec<proto::SavepointCommand>) {
        self.pending.splice(..0, commands.into_iter().filter_map(|command| command.command));
    }

    fn check_open(&self, savepoint: SavepointId) -> Result<()> {
        if self.open.last() == Some(&savepoint) {
            return Ok(());
        }
        if self.open.contains(&savepoint) {
            return Err(Error::misuse(
                "a transaction within this one is open: use its handle, and run nested transactions one by one",
            ));
        }
        Err(over())
    }

    fn unsent(&self, savepoint: SavepointId) -> Option<usize> {
        self.pending.iter().position(|command| *command == Command::Set(savepoint.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(savepoints: &mut Savepoints) -> Vec<Command> {
        savepoints.take_pending().into_iter().filter_map(|command| command.command).collect()
    }

    #[test]
    fn empty_savepoint_is_never_sent() {
        let mut savepoints = Savepoints::default();
        let inner = savepoints.enter(SavepointId::OUTERMOST).unwrap();
        let innermost = savepoints.enter(inner).unwrap();
        savepoints.keep(innermost).unwrap();
        savepoints.undo(inner);
        assert_eq!(sent(&mut savepoints), []);
    }

    #[test]
    fn savepoints_travel_with_statements() {
        let mut savepoints = Savepoints::default();
        let first = savepoints.enter(SavepointId::OUTERMOST).unwrap();
        assert_eq!(sent(&mut savepoints), [Command::Set(1)]);
        savepoints.keep(first).unwrap();
        let second = savepoints.enter(SavepointId::OUTERMOST).unwrap();
        assert_eq!(sent(&mut savepoints), [Command::Release(1), Command::Set(2)]);
        let third = savepoints.enter(second).unwrap();
        assert_eq!(sent(&mut savepoints), [Command::Set(3)]);
        savepoints.keep(third).unwrap();
        savepoints.undo(second);
        assert_eq!(sent(&mut savepoints), [Command::RollBack(2)]);
    }

    #[test]
    fn undoing_a_savepoint_removes_its_failure() {
        let mut savepoints = Savepoints::default();
        let outer = savepoints.enter(SavepointId::OUTERMOST).unwrap();
        let inner = savepoints.enter(outer).unwrap();
        savepoints.fail(Aborted::because("first"));
        savepoints.fail(Aborted::because("second"));
        let error = savepoints.check(inner).unwrap_err();
        assert!(error.to_string().contains("first") && error.is_rejected(), "{error}");
        assert!(savepoints.keep(inner).is_err());
        assert!(savepoints.check(outer).is_ok());
        savepoints.fail_for_good(Aborted::because("lost"));
        savepoints.undo(outer);
        assert!(savepoints.check(SavepointId::OUTERMOST).is_err());
    }

    #[test]
    fn only_the_innermost_savepoint_is_usable() {
        let mut savepoints = Savepoints::default();
        let inner = savepoints.enter(SavepointId::OUTERMOST).unwrap();
        let error = savepoints.check(SavepointId::OUTERMOST).unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("within this one"), "{error}");
        assert!(savepoints.enter(SavepointId::OUTERMOST).is_err());
        savepoints.keep(inner).unwrap();
        assert!(savepoints.check(inner).unwrap_err().is_misuse());
        savepoints.seal().unwrap();
        assert!(savepoints.check(SavepointId::OUTERMOST).unwrap_err().to_string().contains("has ended"));
    }

    #[test]
    fn open_nested_transaction_prevents_commit() {
        let mut savepoints = Savepoints::default();
        savepoints.enter(SavepointId::OUTERMOST).unwrap();
        assert!(savepoints.seal().unwrap_err().is_misuse());
    }
}
