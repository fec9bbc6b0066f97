//! The processor time of processes.

use anyhow::{Context, Result};
use homing_testbed::Postgres;

/// Returns the seconds of processor time that a process has used.
pub(super) fn of_process(id: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    Ok(Stat::read(&stat).context("an unknown format of /proc/PID/stat")?.seconds)
}

/// Returns the seconds that a server's processes have used, as far as they still run.
pub(super) fn of_server(server: &Postgres) -> Result<f64> {
    let file = std::fs::read_to_string(server.data_directory().join("postmaster.pid"))?;
    let postmaster: u32 = file.lines().next().context("postmaster.pid is empty")?.trim().parse()?;
    let mut seconds = of_process(postmaster)?;
    for entry in std::fs::read_dir("/proc")? {
        // Processes come and go, and not every folder is one.
        let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        seconds += Stat::read(&stat).filter(|stat| stat.parent == postmaster).map_or(0.0, |stat| stat.seconds);
    }
    Ok(seconds)
}

/// What `/proc/PID/stat` says of a process: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    seconds: f64,
}

impl Stat {
    fn read(stat: &str) -> Option<Self> {
        // The name, in parentheses, may have any characters.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let [user, system] = [fields.get(11)?, fields.get(12)?].map(|ticks| ticks.parse::<f64>().ok());
        let seconds = (user? + system?) / rustix::param::clock_ticks_per_second() as f64;
        Some(Self { parent: fields.get(1)?.parse().ok()?, seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_may_have_any_characters() {
        let stat = "17 (a) b (c)) S 4 17 17 0 -1 4194560 98 0 0 0 250 50 0 0 20 0 1 0 77 0 0";
        let expected = Stat { parent: 4, seconds: 300.0 / rustix::param::clock_ticks_per_second() as f64 };
        assert_eq!(Stat::read(stat), Some(expected));
        assert_eq!(Stat::read("17 (a)"), None);
    }

    #[test]
    fn own_time_grows() {
        let id = std::process::id();
        let before = of_process(id).unwrap();
        while of_process(id).unwrap() <= before {
            std::hint::spin_loop();
        }
    }
}
