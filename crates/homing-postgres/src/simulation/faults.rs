//! What fails in a history.

use homing_rpc::Failure;

use super::call::{CallState, End, Failed, Next};
use super::executor::{Attempt, Stage};
use super::world::{PEERS, Peer, SERVERS, World, tell};

/// What may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Disconnect,
    Silence,
    Delay,
    LosesDatabase,
    PeerDies,
    PeerStops,
    PrimaryRestarts,
    PrimaryDies,
    ReplicaStops,
    TimeLimit,
    Drop,
}

impl World<'_> {
    /// Lets something fail, if it can.
    pub(super) fn fail(&mut self) {
        let fault = FAULTS[self.choices.below(FAULTS.len())];
        let has_happened = match fault {
            Fault::Disconnect => self.disconnect(),
            Fault::Silence => self.be_silent(),
            Fault::Delay => {
                self.pick_attempt(|attempt| attempt.stage != Stage::Over && !attempt.is_delayed).map(|index| {
                    tell!(self, "attempt {index} is delayed");
                    self.attempts[index].is_delayed = true;
                })
            }
            Fault::LosesDatabase => self.pick_attempt(Attempt::is_connected).map(|index| {
                let is_noticed = self.choices.one_in(2);
                tell!(self, "attempt {index} loses its connection to the database");
                self.attempts[index].lose_connection(&mut self.cluster, is_noticed);
            }),
            Fault::PeerDies => self.lose_peer(Peer::Down),
            Fault::PeerStops => self.lose_peer(Peer::Stopped),
            Fault::PrimaryRestarts => self.cluster.primary.map(|_| {
                tell!(self, "the primary restarts");
                self.lose_connections();
            }),
            Fault::PrimaryDies => self.kill_primary(),
            Fault::ReplicaStops => {
                let server = self.choices.below(SERVERS);
                let may_stop = self.cluster.primary != Some(server) && self.cluster.servers[server].is_up;
                may_stop.then(|| {
                    tell!(self, "server {server} is down");
                    self.cluster.servers[server].is_up = false;
                })
            }
            Fault::TimeLimit => self.pick_call().map(|index| {
                self.calls[index].is_out_of_time = true;
                let failed = self.calls[index].timed_out();
                self.give_up(index);
                tell!(self, "the time of call {index} is over");
                self.go_on(index, Next::Failed(failed));
            }),
            Fault::Drop => self.pick_call().map(|index| {
                self.give_up(index);
                tell!(self, "call {index} is dropped");
                self.end(index, End::Dropped);
            }),
        };
        self.faults_left -= usize::from(has_happened.is_some());
    }

    fn pick_attempt(&mut self, is_wanted: impl Fn(&Attempt) -> bool) -> Option<usize> {
        let count = self.attempts.iter().filter(|attempt| is_wanted(attempt)).count();
        let chosen = (count > 0).then(|| self.choices.below(count.min(256)))?;
        let mut wanted = self.attempts.iter().enumerate().filter(|(_, attempt)| is_wanted(attempt));
        wanted.nth(chosen).map(|(index, _)| index)
    }

    fn pick_call(&mut self) -> Option<usize> {
        let count = self.calls.iter().filter(|call| !call.is_over()).count();
        let chosen = (count > 0).then(|| self.choices.below(count))?;
        let mut active = self.calls.iter().enumerate().filter(|(_, call)| !call.is_over());
        active.nth(chosen).map(|(index, _)| index)
    }

    fn is_awaited(attempt: &Attempt) -> bool {
        attempt.is_awaited && attempt.stage != Stage::Over
    }

    /// A connection between a caller and a peer breaks.
    fn disconnect(&mut self) -> Option<()> {
        let index = self.pick_attempt(|attempt| Self::is_awaited(attempt) && attempt.peer < PEERS)?;
        let attempt = &mut self.attempts[index];
        let is_proven = attempt.stage == Stage::Sent && self.choices.one_in(2);
        if is_proven {
            attempt.stage = Stage::Over;
        }
        let call = attempt.call;
        tell!(self, "the connection of attempt {index} breaks, before it was sent: {is_proven}");
        let (failure, failed) = match is_proven {
            true => (Failure::NotExecuted, Failed::NotSent),
            false => (Failure::Lost, Failed::Unknown),
        };
        self.attempt_failed(index, call, failure, failed);
        Some(())
    }

    /// A peer is silent, and the caller goes on with another one.
    fn be_silent(&mut self) -> Option<()> {
        let index = self.pick_attempt(|attempt| Self::is_awaited(attempt) && attempt.peer < PEERS)?;
        let call = self.attempts[index].call;
        tell!(self, "the peer of attempt {index} is silent");
        self.attempt_failed(index, call, Failure::Lost, Failed::Unknown);
        Some(())
    }

    fn attempt_failed(&mut self, attempt: usize, call: usize, failure: Failure, failed: Failed) {
        self.attempts[attempt].is_awaited = false;
        if matches!(self.attempts[attempt].stage, Stage::Answered(_)) {
            self.attempts[attempt].stage = Stage::Over;
        }
        let next = self.calls[call].failed(failure, failed);
        self.go_on(call, next);
    }

    /// A call waits no longer for its attempt.
    fn give_up(&mut self, call: usize) {
        if let CallState::Waits(attempt) = self.calls[call].state {
            let attempt = &mut self.attempts[usize::from(attempt)];
            attempt.is_awaited = false;
            if matches!(attempt.stage, Stage::Answered(_)) {
                attempt.stage = Stage::Over;
            }
        }
    }

    fn lose_peer(&mut self, state: Peer) -> Option<()> {
        let peer = self.choices.below(PEERS);
        if self.peers[peer] != Peer::Up {
            return None;
        }
        self.peers[peer] = state;
        tell!(self, "peer {peer}: {state:?}");
        if state == Peer::Down {
            for index in 0..self.attempts.len() {
                if self.attempts[index].peer == peer && self.attempts[index].stage != Stage::Over {
                    let is_noticed = self.attempts[index].is_connected() && self.choices.one_in(2);
                    self.attempts[index].lose_connection(&mut self.cluster, is_noticed);
                    self.attempts[index].stage = Stage::Over;
                    if self.attempts[index].is_awaited {
                        let call = self.attempts[index].call;
                        self.attempt_failed(index, call, Failure::Lost, Failed::Unknown);
                    }
                }
            }
        }
        Some(())
    }

    fn kill_primary(&mut self) -> Option<()> {
        let primary = self.cluster.primary?;
        if !(0..SERVERS).any(|server| {
            server != primary && self.cluster.is_in_line(server) && !self.cluster.servers[server].is_retired
        }) {
            return None;
        }
        self.cluster.kill_primary();
        tell!(self, "the primary, server {primary}, dies");
        self.lose_connections();
        Some(())
    }

    fn lose_connections(&mut self) {
        for attempt in &mut self.attempts {
            attempt.lose_connection(&mut self.cluster, true);
        }
    }
}

const FAULTS: [Fault; 11] = [
    Fault::Disconnect,
    Fault::Silence,
    Fault::Delay,
    Fault::LosesDatabase,
    Fault::PeerDies,
    Fault::PeerStops,
    Fault::PrimaryRestarts,
    Fault::PrimaryDies,
    Fault::ReplicaStops,
    Fault::TimeLimit,
    Fault::Drop,
];
