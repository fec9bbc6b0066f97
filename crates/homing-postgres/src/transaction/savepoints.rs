//! The savepoints of a transaction: the outermost one, and a savepoint for each nested one. Without IO.
//!
//! Savepoints cost no round trip: their commands are kept until the next statement, and those of a level in which
//! nothing ran are never sent.

use homing_proto::v1 as proto;
use proto::savepoint_command::Command;

use super::error::{Aborted, over};
use crate::error::{Error, Result};

/// Names a level. Never used twice in one transaction, so that a handle whose level has ended is told from others.
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
    /// How many savepoints were open: rolling back one of them mends it, unless it is the outermost.
    depth: usize,
    cause: Aborted,
}

impl Default for Savepoints {
    fn default() -> Self {
        Self { open: vec![SavepointId::OUTERMOST], last: 0, pending: Vec::new(), failure: None }
    }
}

impl Savepoints {
    /// Whether a statement may run at that level.
    pub(crate) fn check(&self, level: SavepointId) -> Result<()> {
        self.check_open(level)?;
        self.check_failure()
    }

    /// Whether nothing has failed.
    pub(crate) fn check_failure(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.cause.error()))
    }

    /// Begins a level within that one.
    pub(crate) fn enter(&mut self, outer: SavepointId) -> Result<SavepointId> {
        self.check(outer)?;
        self.last += 1;
        let level = SavepointId(self.last);
        self.open.push(level);
        self.pending.push(Command::Set(level.0));
        Ok(level)
    }

    /// Ends a level and keeps what was done in it.
    ///
    /// # Errors
    ///
    /// It cannot be kept, and is rolled back.
    pub(crate) fn keep(&mut self, level: SavepointId) -> Result<()> {
        if let Err(error) = self.check(level) {
            self.undo(level);
            return Err(error);
        }
        self.open.pop();
        match self.unsent(level) {
            // Nothing was executed since.
            Some(index) => self.pending.truncate(index),
            None => self.pending.push(Command::Release(level.0)),
        }
        Ok(())
    }

    /// Ends a level, and those within it, and undoes what was done in it.
    pub(crate) fn undo(&mut self, level: SavepointId) {
        let Some(depth) = self.open.iter().position(|open| *open == level) else { return };
        self.open.truncate(depth);
        match self.unsent(level) {
            Some(index) => self.pending.truncate(index),
            None => {
                // All that is not sent yet is about savepoints within this one.
                self.pending.clear();
                self.pending.push(Command::RollBack(level.0));
            }
        }
        if self.failure.as_ref().is_some_and(|failure| failure.depth > depth) {
            self.failure = None;
        }
    }

    /// A statement failed: only ending the innermost level mends it.
    pub(crate) fn fail(&mut self, cause: Aborted) {
        let depth = self.open.len();
        // The first one is the cause of the others.
        self.failure.get_or_insert(SavepointFailure { depth, cause });
    }

    /// The whole transaction failed.
    pub(crate) fn fail_for_good(&mut self, cause: Aborted) {
        self.failure = Some(SavepointFailure { depth: 0, cause });
    }

    pub(crate) fn is_failed_for_good(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.depth == 0)
    }

    /// Whether the outermost level can be committed. From now on no statement can run.
    pub(crate) fn seal(&mut self) -> Result<()> {
        let sealed = self.check(SavepointId::OUTERMOST);
        self.end();
        sealed
    }

    pub(crate) fn end(&mut self) {
        self.open.clear();
    }

    /// What has to be sent with the next statement.
    pub(crate) fn take_pending(&mut self) -> Vec<proto::SavepointCommand> {
        self.pending.drain(..).map(|command| proto::SavepointCommand { command: Some(command) }).collect()
    }

    /// The transaction was not begun after all: what was taken has still to be sent.
    pub(crate) fn put_back(&mut self, commands: Vec<proto::SavepointCommand>) {
        self.pending.splice(..0, commands.into_iter().filter_map(|command| command.command));
    }

    fn check_open(&self, level: SavepointId) -> Result<()> {
        if self.open.last() == Some(&level) {
            return Ok(());
        }
        if self.open.contains(&level) {
            return Err(Error::misuse(
                "a transaction within this one is open: use its handle, and run nested transactions one after the other",
            ));
        }
        Err(over())
    }

    fn unsent(&self, level: SavepointId) -> Option<usize> {
        self.pending.iter().position(|command| *command == Command::Set(level.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(savepoints: &mut Savepoints) -> Vec<Command> {
        savepoints.take_pending().into_iter().filter_map(|command| command.command).collect()
    }

    #[test]
    fn a_level_in_which_nothing_ran_is_never_sent() {
        let mut savepoints = Savepoints::default();
        let inner = savepoints.enter(SavepointId::OUTERMOST).unwrap();
        let innermost = savepoints.enter(inner).unwrap();
        savepoints.keep(innermost).unwrap();
        savepoints.undo(inner);
        assert_eq!(sent(&mut savepoints), []);
    }

    #[test]
    fn savepoints_ride_with_the_statements() {
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
    fn what_fails_in_a_level_is_mended_by_undoing_it() {
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
    fn a_handle_is_of_use_while_its_level_is_the_innermost_one() {
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
    fn with_a_nested_one_still_open_nothing_is_committed() {
        let mut savepoints = Savepoints::default();
        savepoints.enter(SavepointId::OUTERMOST).unwrap();
        assert!(savepoints.seal().unwrap_err().is_misuse());
    }
}
