//! [`StreamRequest`], a read whose rows arrive in chunks.

use std::sync::Arc;

use homing_proto::v1 as proto;
use tokio::time::Instant;
use tracing::debug;

use super::chosen::Chosen;
use super::opening::{
    ForwardedParts, LocalChunks, Opened, choose_primary, local_error, open_locally, open_on_peer, refusal,
};
use super::plan::WhyPrimary;
use super::reader::{ReadRequest, ReadTiming};
use super::rows::{RowSource, RowStream, Rows};
use super::server::{RefusedRead, note_read};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::execute::{Parameters, Runner, Statements, execute};
use crate::error::{Error, Result};
use crate::executor::{Broken, Chunk};
use crate::primary::query::StreamedAs;
use crate::primary::{Primary, PrimaryRequest};
use crate::replicas::Member;
use crate::statement::columns::Columns;
use crate::statement::description::StatementDescription;
use crate::statement::refusal::Refusal;
use crate::statement::row::Row;

/// A statement whose rows are read one after the other.
#[derive(Debug)]
pub(crate) struct StreamRequest<'a> {
    pub(crate) operation: &'static str,
    pub(crate) sql: &'a str,
    pub(crate) parameters: &'a Parameters<'a>,
}

impl ReadRequest for StreamRequest<'_> {
    type Output = RowStream;

    async fn run_on(
        &mut self,
        engine: &Engine,
        chosen: &Chosen,
        deadline: Instant,
    ) -> Result<Result<RowStream>, RefusedRead> {
        let described = async {
            let mut description = engine.describe(self.sql, deadline).await?;
            let statements = &[(self.sql, self.parameters)][..];
            let mut encoded = statements.encode(std::slice::from_ref(&description));
            if encoded.is_err() && engine.describe_again(self.sql, deadline).await.is_ok() {
                description = engine.describe(self.sql, deadline).await?;
                encoded = statements.encode(std::slice::from_ref(&description));
            }
            Ok((encoded?.remove(0), description))
        };
        let (statement, description) =
            described.await.map_err(|error: Error| RefusedRead { refusal: Refusal::Final, error })?;
        let rows = open_on(engine, chosen, statement, &description, deadline).await.map_err(|broken| {
            debug!(?broken, "the local database cannot stream");
            let database = chosen.member.database();
            let refusal = refusal(&broken, database);
            if refusal == Refusal::Transient {
                engine.descriptions().forget(self.sql);
            }
            RefusedRead { refusal, error: local_error(broken, database) }
        })?;
        let checked = chosen.check().map_err(|error| RefusedRead { refusal: Refusal::Unreachable, error });
        checked.map(|()| Ok(rows))
    }

    async fn run_on_primary(
        &mut self,
        engine: &Engine,
        _: WhyPrimary,
        timing: ReadTiming,
    ) -> Result<Answered<RowStream>> {
        let runner = StreamRunner { engine, deadline: engine.deadline() };
        let (opened, _) = execute(&[(self.sql, self.parameters)][..], &runner).await?;
        Ok(opened.answered(self.operation, timing))
    }
}

/// Opens a stream on the primary.
struct StreamRunner<'a> {
    engine: &'a Engine,
    deadline: Instant,
}

impl Runner for StreamRunner<'_> {
    type Answer = Opened<RowStream>;

    async fn describe(&self, sql: &str) -> Result<StatementDescription> {
        self.engine.describe(sql, self.deadline).await
    }

    async fn describe_again(&self, sql: &str) -> Result<()> {
        self.engine.describe_again(sql, self.deadline).await
    }

    async fn run(
        &self,
        mut statements: Vec<proto::Statement>,
        of: &[StatementDescription],
    ) -> Result<Opened<RowStream>> {
        let opening = StreamOpening {
            engine: self.engine,
            statement: statements.remove(0),
            description: &of[0],
            deadline: self.deadline,
        };
        self.engine.primary().send(&opening).await
    }
}

struct StreamOpening<'a> {
    engine: &'a Engine,
    statement: proto::Statement,
    description: &'a StatementDescription,
    deadline: Instant,
}

impl PrimaryRequest for StreamOpening<'_> {
    type Answer = Opened<RowStream>;

    fn answer_by(&self) -> Instant {
        self.deadline
    }

    async fn run_locally(&self, _: &Primary, member: &Arc<Member>) -> Result<Opened<RowStream>> {
        let Self { engine, statement, description, deadline } = self;
        engine.wait_for_local_primary(*deadline).await?;
        let chosen = choose_primary(member)?;
        let opened = open_on(engine, &chosen, statement.clone(), description, *deadline).await;
        let rows = opened.map_err(|broken| local_error(broken, member.database()))?;
        chosen.check()?;
        note_read(engine, member, None, &[]);
        Ok(Opened::locally(rows))
    }

    async fn forward(&self, primary: &Primary) -> Result<Opened<RowStream>> {
        let statement = self.statement.clone();
        let opened = open_on_peer(self.engine, primary, statement, StreamedAs::Rows, self.deadline).await?;
        opened.try_map(|(first, parts)| {
            let source = Forwarded { parts, columns: Arc::clone(&self.description.columns) };
            Ok(RowStream::new(Arc::clone(&source.columns), source.rows(first)?, source))
        })
    }
}

async fn open_on(
    engine: &Engine,
    chosen: &Chosen,
    statement: proto::Statement,
    description: &StatementDescription,
    deadline: Instant,
) -> Result<RowStream, Broken> {
    let (first, chunks) = open_locally(engine, chosen, statement, deadline).await?;
    let source = Local { chunks, columns: Arc::clone(&description.columns) };
    Ok(RowStream::new(Arc::clone(&source.columns), source.rows(first), source))
}

/// A local server that sends rows.
struct Local {
    chunks: LocalChunks<tokio_postgres::Row>,
    columns: Arc<Columns>,
}

/// A peer that sends rows.
struct Forwarded {
    parts: ForwardedParts,
    columns: Arc<Columns>,
}

impl RowSource for Local {
    async fn next(&mut self) -> Result<Rows> {
        let chunk = self.chunks.next().await?;
        Ok(self.rows(chunk))
    }
}

impl Local {
    fn rows(&self, chunk: Chunk<tokio_postgres::Row>) -> Rows {
        (chunk.rows.into_iter().map(|row| Row::local(&self.columns, row)).collect(), chunk.last)
    }
}

impl RowSource for Forwarded {
    async fn next(&mut self) -> Result<Rows> {
        let part = self.parts.next().await?;
        self.rows(part)
    }
}

impl Forwarded {
    fn rows(&self, part: proto::QueryPart) -> Result<Rows> {
        Ok((Row::all_forwarded(&self.columns, part.rows)?, part.last))
    }
}
