//! The levels of a transaction: the outermost one, and a savepoint for each nested one. Without IO.
//!
//! Savepoints cost no round trip: their commands are kept until the next statement, and those of a level in which
//! nothing ran are never sent.

use homing_proto::v1 as proto;
use proto::savepoint_command::Command;

use super::{Aborted, over};
use crate::error::{Error, Result};

/// Names a level. Never used twice in one transaction, so that a handle whose level has ended is told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LevelId(u32);

impl LevelId {
    pub(crate) const OUTERMOST: Self = Self(0);
}

/// The levels of one transaction.
#[derive(Debug)]
pub(crate) struct Levels {
    /// From the outermost to the innermost; empty once the transaction has ended.
    open: Vec<LevelId>,
    last: u32,
    pending: Vec<Command>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    /// How many levels were open: rolling back one of them mends it, unless it is the outermost.
    depth: usize,
    cause: Aborted,
}

impl Default for Levels {
    fn default() -> Self {
        Self { open: vec![LevelId::OUTERMOST], last: 0, pending: Vec::new(), failure: None }
    }
}

impl Levels {
    /// Whether a statement may run at that level.
    pub(crate) fn check(&self, level: LevelId) -> Result<()> {
        self.check_open(level)?;
        self.check_failure()
    }

    /// Whether nothing has failed.
    pub(crate) fn check_failure(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.cause.error()))
    }

    /// Begins a level within that one.
    pub(crate) fn enter(&mut self, outer: LevelId) -> Result<LevelId> {
        self.check(outer)?;
        self.last += 1;
        let level = LevelId(self.last);
        self.open.push(level);
        self.pending.push(Command::Set(level.0));
        Ok(level)
    }

    /// Ends a level and keeps what was done in it.
    ///
    /// # Errors
    ///
    /// It cannot be kept, and is rolled back.
    pub(crate) fn keep(&mut self, level: LevelId) -> Result<()> {
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
    pub(crate) fn undo(&mut self, level: LevelId) {
        let Some(depth) = self.open.iter().position(|open| *open == level) else { return };
        self.open.truncate(depth);
        match self.unsent(level) {
            Some(index) => self.pending.truncate(index),
            None => {
                // All that is not sent yet is about levels within this one.
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
        self.failure.get_or_insert(Failure { depth, cause });
    }

    /// The whole transaction failed.
    pub(crate) fn fail_for_good(&mut self, cause: Aborted) {
        self.failure = Some(Failure { depth: 0, cause });
    }

    pub(crate) fn is_failed_for_good(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.depth == 0)
    }

    /// Whether the outermost level can be committed. From now on no statement can run.
    pub(crate) fn seal(&mut self) -> Result<()> {
        let sealed = self.check(LevelId::OUTERMOST);
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

    fn check_open(&self, level: LevelId) -> Result<()> {
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

    fn unsent(&self, level: LevelId) -> Option<usize> {
        self.pending.iter().position(|command| *command == Command::Set(level.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(levels: &mut Levels) -> Vec<Command> {
        levels.take_pending().into_iter().filter_map(|command| command.command).collect()
    }

    #[test]
    fn a_level_in_which_nothing_ran_is_never_sent() {
        let mut levels = Levels::default();
        let inner = levels.enter(LevelId::OUTERMOST).unwrap();
        let innermost = levels.enter(inner).unwrap();
        levels.keep(innermost).unwrap();
        levels.undo(inner);
        assert_eq!(sent(&mut levels), []);
    }

    #[test]
    fn savepoints_ride_with_the_statements() {
        let mut levels = Levels::default();
        let first = levels.enter(LevelId::OUTERMOST).unwrap();
        assert_eq!(sent(&mut levels), [Command::Set(1)]);
        levels.keep(first).unwrap();
        let second = levels.enter(LevelId::OUTERMOST).unwrap();
        assert_eq!(sent(&mut levels), [Command::Release(1), Command::Set(2)]);
        let third = levels.enter(second).unwrap();
        assert_eq!(sent(&mut levels), [Command::Set(3)]);
        levels.keep(third).unwrap();
        levels.undo(second);
        assert_eq!(sent(&mut levels), [Command::RollBack(2)]);
    }

    #[test]
    fn what_fails_in_a_level_is_mended_by_undoing_it() {
        let mut levels = Levels::default();
        let outer = levels.enter(LevelId::OUTERMOST).unwrap();
        let inner = levels.enter(outer).unwrap();
        levels.fail(Aborted::because("first"));
        levels.fail(Aborted::because("second"));
        let error = levels.check(inner).unwrap_err();
        assert!(error.to_string().contains("first") && error.is_rejected(), "{error}");
        assert!(levels.keep(inner).is_err());
        assert!(levels.check(outer).is_ok());
        levels.fail_for_good(Aborted::because("lost"));
        levels.undo(outer);
        assert!(levels.check(LevelId::OUTERMOST).is_err());
    }

    #[test]
    fn a_handle_is_of_use_while_its_level_is_the_innermost_one() {
        let mut levels = Levels::default();
        let inner = levels.enter(LevelId::OUTERMOST).unwrap();
        let error = levels.check(LevelId::OUTERMOST).unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("within this one"), "{error}");
        assert!(levels.enter(LevelId::OUTERMOST).is_err());
        levels.keep(inner).unwrap();
        assert!(levels.check(inner).unwrap_err().is_misuse());
        levels.seal().unwrap();
        assert!(levels.check(LevelId::OUTERMOST).unwrap_err().to_string().contains("has ended"));
    }

    #[test]
    fn with_a_nested_one_still_open_nothing_is_committed() {
        let mut levels = Levels::default();
        levels.enter(LevelId::OUTERMOST).unwrap();
        assert!(levels.seal().unwrap_err().is_misuse());
    }
}
