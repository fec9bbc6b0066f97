//! The table of how long reads take from each server.

use std::fmt;
use std::time::Duration;

/// The settings of a measurement: see [`Repo::measure_reads`](crate::Repo::measure_reads).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measure {
    /// The statement to run. It only reads and has no parameters. Default: `select 1`, which measures the way to the
    /// server and little else.
    pub statement: String,

    /// How long to read from each server. Default: 2 s.
    pub time: Duration,

    /// The number of reads from each server that do not count, since they open a connection and prepare the statement.
    /// Default: 3.
    pub warm_up: u32,
}

impl Measure {
    /// Sets the statement to run.
    #[must_use]
    pub fn with_statement(mut self, statement: impl Into<String>) -> Self {
        self.statement = statement.into();
        self
    }

    /// Sets how long to read from each server.
    #[must_use]
    pub fn with_time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }
}

impl Default for Measure {
    fn default() -> Self {
        Self { statement: "select 1".into(), time: TIME, warm_up: WARM_UP }
    }
}

/// How long reads take from this node to each replica and to the primary.
///
/// [`Display`](fmt::Display) writes a table, and below it a comparison of the servers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadTable {
    /// A row for each server, from the fastest to the slowest. Servers that could not be measured are last.
    pub rows: Vec<ReadRow>,
}

/// One server in a [`ReadTable`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadRow {
    /// The replica's name, or the primary's region.
    pub name: String,

    /// The figures, or the reason why the server could not be measured.
    pub figures: Result<ReadFigures, String>,
}

/// How long the reads from one server took. They were made one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReadFigures {
    /// The number of reads.
    pub reads: usize,

    /// The reads per second.
    pub ips: f64,

    /// The mean duration.
    pub average: Duration,

    /// The standard deviation as a fraction of the average: 0.05 is ±5 %.
    pub deviation: f64,

    /// Half of the reads took at most this long.
    pub median: Duration,

    /// 99 of 100 reads took at most this long.
    pub p99: Duration,

    /// The duration of the fastest read.
    pub minimum: Duration,

    /// The duration of the slowest read.
    pub maximum: Duration,
}

impl ReadFigures {
    /// Computes the figures from the durations of the reads; `None` without any.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let (minimum, maximum) = (*times.first()?, *times.last()?);
        #[expect(clippy::cast_precision_loss, reason = "a measurement has fewer than 2^52 reads")]
        let count = times.len() as f64;
        let seconds = || times.iter().map(Duration::as_secs_f64);
        let average = seconds().sum::<f64>() / count;
        let variance = seconds().map(|time| (time - average).powi(2)).sum::<f64>() / count;
        Some(Self {
            reads: times.len(),
            ips: 1.0 / average,
            average: Duration::from_secs_f64(average),
            deviation: variance.sqrt() / average,
            median: times[rank(times.len(), 50)],
            p99: times[rank(times.len(), 99)],
            minimum,
            maximum,
        })
    }
}

impl ReadTable {
    pub(crate) fn new(mut rows: Vec<ReadRow>) -> Self {
        let average = |row: &ReadRow| row.figures.as_ref().map_or(Duration::MAX, |figures| figures.average);
        rows.sort_by_key(average);
        Self { rows }
    }

    fn measured(&self) -> impl Iterator<Item = (&str, &ReadFigures)> {
        self.rows.iter().filter_map(|row| Some((row.name.as_str(), row.figures.as_ref().ok()?)))
    }

    fn write_figures(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let [ips, average, deviation, median, p99] = HEADINGS;
        writeln!(f, "{:<width$} {ips:>11} {average:>14} {deviation:>10} {median:>14} {p99:>14}", "Name")?;
        for (name, figures) in self.measured() {
            let ReadFigures { average, median, p99, .. } = *figures;
            let deviation = format!("±{:.2}%", figures.deviation * 100.0);
            let [average, median, p99] = [average, median, p99].map(time);
            let ips = rate(figures.ips);
            writeln!(f, "{name:<width$} {ips:>11} {average:>14} {deviation:>10} {median:>14} {p99:>14}")?;
        }
        Ok(())
    }

    /// Writes how much slower each server is than the fastest.
    fn write_comparison(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let mut measured = self.measured();
        let Some((name, fastest)) = measured.next() else { return Ok(()) };
        writeln!(f, "\nComparison:\n{name:<width$} {:>11}", rate(fastest.ips))?;
        for (name, figures) in measured {
            let slower = fastest.ips / figures.ips;
            let more = time(figures.average.saturating_sub(fastest.average));
            writeln!(f, "{name:<width$} {:>11} - {slower:.2}x slower +{more}", rate(figures.ips))?;
        }
        Ok(())
    }
}

impl fmt::Display for ReadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rows.iter().map(|row| row.name.chars().count());
        let width = names.max().unwrap_or_default().max(NARROWEST_NAME);
        if self.measured().next().is_some() {
            self.write_figures(f, width)?;
            self.write_comparison(f, width)?;
        }
        for row in &self.rows {
            if let Err(reason) = &row.figures {
                writeln!(f, "{} was not measured: {reason}", row.name)?;
            }
        }
        Ok(())
    }
}

/// The index of a percentile among sorted values.
fn rank(count: usize, percent: usize) -> usize {
    (count * percent).div_ceil(100).saturating_sub(1)
}

fn rate(ips: f64) -> String {
    match ips {
        many if many >= 1_000_000.0 => format!("{:.2} M", many / 1_000_000.0),
        many if many >= 1_000.0 => format!("{:.2} K", many / 1_000.0),
        few => format!("{few:.2}"),
    }
}

fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        long if long >= 1.0 => format!("{long:.2} s"),
        short if short >= 0.001 => format!("{:.2} ms", short * 1_000.0),
        tiny => format!("{:.2} μs", tiny * 1_000_000.0),
    }
}

const HEADINGS: [&str; 5] = ["ips", "average", "deviation", "median", "99th %"];

const NARROWEST_NAME: usize = 16;

const TIME: Duration = Duration::from_secs(2);
const WARM_UP: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, millis: &[u64]) -> ReadRow {
        let times = millis.iter().copied().map(Duration::from_millis).collect();
        ReadRow { name: name.into(), figures: ReadFigures::of(times).ok_or_else(|| "no reads".into()) }
    }

    #[test]
    fn figures_summarize_the_times() {
        let figures = ReadFigures::of((1..=100).rev().map(Duration::from_millis).collect()).unwrap();
        assert_eq!((figures.reads, figures.average), (100, Duration::from_micros(50_500)));
        assert_eq!((figures.median, figures.p99), (Duration::from_millis(50), Duration::from_millis(99)));
        assert_eq!((figures.minimum, figures.maximum), (Duration::from_millis(1), Duration::from_millis(100)));
        assert!((figures.ips - 19.80).abs() < 0.01 && (figures.deviation - 0.5716).abs() < 0.001, "{figures:?}");
        assert_eq!(ReadFigures::of(Vec::new()), None);
    }

    #[test]
    fn table_compares_servers_with_the_fastest() {
        let rows = vec![row("ord", &[]), row("iad (primary)", &[200, 200]), row("syd", &[1, 3])];
        let table = ReadTable::new(rows).to_string();
        let expected = [
            "Name                     ips        average  deviation         median         99th %",
            "syd                   500.00        2.00 ms    ±50.00%        1.00 ms        3.00 ms",
            "iad (primary)           5.00      200.00 ms     ±0.00%      200.00 ms      200.00 ms",
            "",
            "Comparison:",
            "syd                   500.00",
            "iad (primary)           5.00 - 100.00x slower +198.00 ms",
            "ord was not measured: no reads",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected, "\n{table}");
    }

    #[test]
    fn units_follow_the_size() {
        assert_eq!([0.5, 999.0, 2_340.0, 2_340_000.0].map(rate), ["0.50", "999.00", "2.34 K", "2.34 M"]);
        let times = [427, 1_500, 2_000_000].map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(times, ["427.00 μs", "1.50 ms", "2.00 s"]);
    }
}
