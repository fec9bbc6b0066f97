//! The promises, and what breaks them.

use super::call::{Call, End, Failed};
use super::executor::{AttemptId, Task};
use super::table::Key;
use super::world::{World, tell};
use crate::outcome::known::Known;
use crate::position::Position;

impl World<'_> {
    /// Returns the calls that write with a key.
    fn calls_with(&self, key: Key) -> u64 {
        let is_of = |call: &Call| call.key == key && call.task == Task::Write;
        self.calls.iter().enumerate().filter(|(_, call)| is_of(call)).fold(0, |calls, (index, _)| calls | 1 << index)
    }

    /// Returns the call whose write with a key is stored, or else those that were and are lost.
    fn stored_with(&self, key: Key) -> u64 {
        let calls = self.calls_with(key);
        let stored = self.cluster.stored() & calls;
        if stored == 0 { self.cluster.lost & calls } else { stored }
    }

    /// Returns whether a failover has lost that a key was settled.
    fn is_forgotten(&self, key: Key) -> bool {
        self.cluster.forgotten & 1 << key != 0
    }

    /// Denies that a call is stored, and checks that it is not.
    fn deny(&mut self, index: usize, by: &str) {
        self.calls[index].is_denied = true;
        let is_stored = self.cluster.stored() & !self.cluster.lost & 1 << index != 0;
        if is_stored && !self.is_forgotten(self.calls[index].key) {
            self.break_promise(format!("fate: call {index} is stored, but not according to {by}"));
        }
    }

    /// Returns whether one of these calls is stored by an attempt that had looked for its key before it was settled.
    fn is_stored_before(&self, calls: u64, settled: u32) -> bool {
        let stored = calls & self.cluster.stored() & !self.cluster.lost;
        self.committed.iter().any(|(_, id)| {
            let attempt = &self.attempts[usize::from(*id)];
            stored & 1 << attempt.call != 0 && attempt.looked < settled
        })
    }

    /// Checks what an attempt has just committed. Before, these calls were stored.
    pub(super) fn check_commit(&mut self, attempt: usize, before: u64) {
        let attempt = &self.attempts[attempt];
        let (id, key, call) = (attempt.id, attempt.key, attempt.call);
        self.committed.push((key, id));
        if before & self.calls_with(key) != 0 {
            self.break_promise(format!("doubled: attempt {id} stores key {key} again"));
        }
        if self.calls[call].is_denied && !self.is_forgotten(key) {
            self.break_promise(format!("fate: attempt {id} stores call {call}, which is said not to be stored"));
        }
    }

    /// The call was answered with the results of an attempt.
    pub(super) fn note_results(&mut self, index: usize, result: Option<AttemptId>, position: Option<Position>) -> End {
        let Call { session, key, fingerprint, .. } = self.calls[index];
        let stored = self.stored_with(key);
        if stored == 0 {
            self.break_promise(format!("lost: call {index} is acknowledged, and not stored"));
        }
        if let Some(result) = result {
            if !self.committed.contains(&(key, result)) {
                self.break_promise(format!("result: call {index} has that of attempt {result}, which was rolled back"));
            }
            if self.attempts[usize::from(result)].fingerprint != fingerprint {
                self.break_promise(format!("result: call {index} has that of another request"));
            }
        }
        self.calls[index].is_acknowledged = true;
        self.note_write(index, stored, position);
        tell!(self, "session {session} is told of writes {stored:b}, at {position:?}");
        if result.is_some() { End::Acknowledged } else { End::Committed }
    }

    /// The call was told what became of a key.
    pub(super) fn note_outcome(&mut self, index: usize, known: Known<AttemptId>, position: Option<Position>) -> End {
        let key = self.calls[index].key;
        let stored = self.stored_with(key);
        match known {
            Known::Committed(_) => {
                if stored == 0 {
                    self.break_promise(format!("fate: key {key} is said to be committed"));
                }
                self.note_write(index, stored, position);
            }
            Known::Nothing | Known::Settled(_) | Known::Reused => {
                let settled = self.calls[index].settled.unwrap_or(self.now);
                for other in 0..self.calls.len() {
                    // A call that is not over may go on.
                    let call = &self.calls[other];
                    if call.key == key && call.task == Task::Write && call.ended.is_some_and(|ended| ended < settled) {
                        self.deny(other, "the outcome of its key");
                    }
                }
                if self.is_stored_before(self.calls_with(key), settled) {
                    self.break_promise(format!("fate: key {key} is said not to be committed, and is"));
                }
            }
        }
        End::Outcome
    }

    /// Moves the session of a call to the position of a write.
    fn note_write(&mut self, index: usize, stored: u64, position: Option<Position>) {
        let Call { session, earlier, .. } = &self.calls[index];
        let caller = &mut self.sessions[*session];
        caller.required |= stored;
        if let Some(position) = position {
            caller.placed |= stored;
            // A question for an outcome is answered whatever the session has seen.
            if self.calls[index].task == Task::Write {
                caller.session.survived(&earlier.positions, position.timeline);
            }
        }
        if self.bug == Some(super::bug::Bug::ForgetsWrites) {
            return;
        }
        match position {
            Some(position) => caller.session.advance_past(&earlier.positions, position),
            None => caller.session.lost_track(),
        }
    }

    /// The call failed.
    pub(super) fn note_failure(&mut self, index: usize, failed: Failed) -> End {
        let call = &self.calls[index];
        let (session, key) = (call.session, call.key);
        if call.task == Task::Outcome {
            return End::Failed(failed);
        }
        match failed {
            Failed::Unknown if !call.is_out_of_time => {
                self.break_promise(format!("unsettled: call {index} gives up before its time is over"));
            }
            Failed::Unknown => self.wonder(index),
            Failed::NotSent | Failed::HistoryLost | Failed::Rejected | Failed::KeySettled | Failed::KeyReused => {
                self.deny(index, &format!("its error, {failed:?}"));
            }
        }
        match failed {
            Failed::HistoryLost => self.lose_history(session, Some(index)),
            Failed::Rejected => self.sessions[session].session.has_read_primary(),
            Failed::KeyReused => {
                let fingerprint = self.calls[index].fingerprint;
                let is_other = |(other, id): &(Key, AttemptId)| {
                    *other == key && self.attempts[usize::from(*id)].fingerprint != fingerprint
                };
                if !self.committed.iter().any(is_other) {
                    self.break_promise(format!("misuse: no other request has used the key of call {index}"));
                }
            }
            _ => {}
        }
        End::Failed(failed)
    }

    /// A primary does not have what a session has seen.
    pub(super) fn lose_history(&mut self, session: usize, call: Option<usize>) {
        let stored = self.cluster.stored();
        let caller = &mut self.sessions[session];
        match call {
            Some(call) => caller.session.lost(&self.calls[call].earlier.positions),
            None => caller.session.lost(&caller.session.positions()),
        }
        caller.required &= stored;
        // The session forgets the places of what has survived too. If that is lost as well before the session asks the primary for a
        // new one, it has been told of a loss already.
        caller.placed &= if caller.session.positions().is_empty() { 0 } else { stored };
    }

    /// Checks what a read of a session shows, which began when the session required these writes, and knew places of some.
    pub(super) fn check_read(&mut self, session: usize, required: u64, placed: u64, shown: u64) {
        let caller = &self.sessions[session];
        let missing = required & caller.required & !shown;
        // What was lost, and has no known place, is lost without an error.
        let is_excused = self.cluster.lost & !(placed & caller.placed);
        if missing & !is_excused != 0 {
            self.break_promise(format!("stale: a read of session {session} shows {shown:b}, without {missing:b}"));
        }
        self.sessions[session].required |= shown;
    }

    /// Checks what is stored in the end.
    pub(super) fn check_end(&mut self) {
        let stored = self.cluster.stored() | self.cluster.lost;
        for index in 0..self.calls.len() {
            if self.calls[index].is_acknowledged && stored & self.calls_with(self.calls[index].key) == 0 {
                self.break_promise(format!("lost: call {index} was acknowledged"));
            }
            if !self.calls[index].is_over() {
                self.break_promise(format!("call {index} does not end"));
            }
        }
        if self.reads.iter().any(Option::is_some) {
            self.break_promise("a read does not end");
        }
    }
}
