//! Every value of PostgreSQL has the same bits wherever it is written and read: locally or forwarded, on the primary or
//! on the replica.
//!
//! One case is a row of a table with a column of each type, so that a round of calls tries all types at once.

mod cell;
mod kinds;

use homing::report::AnsweredBy;
use homing::types::ToSql;
use homing::{Repo, Row};
use proptest::strategy::{BoxedStrategy, Strategy};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use self::cell::{Bits, Cell};
use self::kinds::Kind;
use crate::fixture::{PATIENCE, Reports, World, recorded};

/// Reads and writes one table through both nodes.
struct Table {
    iad: Repo,
    syd: Repo,
    reports: Reports,
    kinds: Vec<Kind>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarded_values_have_same_bits() {
    let world = World::shared().await;
    let table = Table::create(&world, kinds::all()).await;
    let cells: Vec<BoxedStrategy<Cell>> = table.kinds.iter().map(|kind| kind.values.clone()).collect();
    let outcome = run(CASES, &cells, |cells| table.check(cells));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Runs the property as often as asked for, and finds the smallest value for which it does not hold.
fn run<S: Strategy, F: Future<Output = Result<(), String>>>(
    cases: u32,
    values: &S,
    property: impl Fn(S::Value) -> F,
) -> Result<(), String> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let property = |value| {
        let checked = block_in_place(|| Handle::current().block_on(property(value)));
        checked.map_err(TestCaseError::fail)
    };
    TestRunner::new(config).run(values, property).map_err(|error| error.to_string())
}

impl Table {
    async fn create(world: &World, kinds: Vec<Kind>) -> Self {
        let iad = world.iad.repo().with_call_timeout(PATIENCE);
        let (syd, reports) = recorded(&world.syd.repo().with_call_timeout(PATIENCE).with_replay_timeout(PATIENCE));
        let columns: Vec<_> = kinds.iter().enumerate().map(|(index, kind)| format!("c{index} {}", kind.ty)).collect();
        let columns = columns.join(", ");
        let script = format!("{}; create table everything (id bigserial primary key, {columns})", kinds::SCHEMA);
        iad.batch_execute(&script).await.unwrap();
        Self { iad, syd, reports, kinds }
    }

    async fn check(&self, cells: Vec<Cell>) -> Result<(), String> {
        let values: Vec<&(dyn ToSql + Sync)> = cells.iter().map(Cell::parameter).collect();
        let placeholders: Vec<_> = self.kinds.iter().zip(1..).map(|(kind, number)| kind.placeholder(number)).collect();
        let first = self.write_through_both(&placeholders, &values).await?;
        for (index, cell) in cells.iter().enumerate() {
            let name = &self.kinds[index].ty;
            cell.check(&first[0], index + 1).map_err(|error| format!("{name}: {error}"))?;
        }
        // Now as bits, which no Rust type has converted.
        let bits = bits(&first[0]);
        let values: Vec<&(dyn ToSql + Sync)> = bits.iter().map(|bits| bits as &(dyn ToSql + Sync)).collect();
        let placeholders: Vec<_> = (1..=bits.len()).map(|number| format!("${number}")).collect();
        let second = self.write_through_both(&placeholders, &values).await?;
        self.compare("written as bits", &first[0], &second[0])
    }

    /// Writes the row through each node and reads it back in every possible way; all have the same bits.
    async fn write_through_both(
        &self,
        placeholders: &[String],
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, String> {
        let columns: Vec<_> = (0..placeholders.len()).map(|index| format!("c{index}")).collect();
        let (columns, placeholders) = (columns.join(", "), placeholders.join(", "));
        let insert = format!("insert into everything ({columns}) values ({placeholders}) returning id, {columns}");
        let failed = |error: homing::Error| format!("{error}: {:?}", std::error::Error::source(&error));
        let there = self.syd.query_one(&insert, values).await.map_err(failed)?;
        let here = self.iad.query_one(&insert, values).await.map_err(failed)?;
        self.compare("inserted through the replica's node and through the primary's", &there, &here)?;

        let ids = [there.get::<_, i64>("id"), here.get("id")];
        let select = format!("select id, {columns} from everything where id = any ($1) order by id");
        let locked = format!("{select} for update");
        // The other node's row has to have arrived; this session has not seen it.
        self.syd.execute("update everything set id = id where false", &[]).await.map_err(failed)?;
        let mut rows = vec![there];
        for (repo, sql, how) in [
            (&self.syd, &select, "read from the replica"),
            (&self.iad, &select, "read from the primary"),
            (&self.syd, &locked, "read from the primary, forwarded"),
        ] {
            let read = repo.query(sql, &[&ids.as_slice()]).await.map_err(failed)?;
            assert_eq!(read.len(), 2, "{how}");
            for row in &read {
                self.compare(how, &rows[0], row)?;
            }
            if std::ptr::eq(repo, &self.syd) {
                let is_here = self.reports.last().answered_by == AnsweredBy::Local;
                assert_eq!(is_here, std::ptr::eq(sql, &select), "{how}");
            }
            rows.extend(read);
        }
        Ok(rows)
    }

    fn compare(&self, how: &str, one: &Row, other: &Row) -> Result<(), String> {
        for (kind, (one, other)) in self.kinds.iter().zip(bits(one).into_iter().zip(bits(other))) {
            if one != other {
                return Err(format!("{}: {how}: {one:?} is not {other:?}", kind.ty));
            }
        }
        Ok(())
    }
}

/// All columns but the key.
fn bits(row: &Row) -> Vec<Bits> {
    (1..row.len()).map(|index| row.get(index)).collect()
}

/// As many as a few seconds allow. Each tries every type several times over.
const CASES: u32 = 40;
