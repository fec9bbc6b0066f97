//! [`Control`], a node of the bench and the connection by which it gets its orders.

use anyhow::{Context, Result, anyhow};
use homing_testbed::{NodeCommand, NodeProcess};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::order::{Order, Pauses, Times, Work};

pub(super) struct Control {
    process: NodeProcess,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Control {
    pub(super) async fn start(command: NodeCommand) -> Result<Self> {
        let process = command.start().await?;
        let line = process.ready_line().await;
        let address = line.strip_prefix("control=").with_context(|| format!("a node printed {line:?}"))?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { process, lines: BufReader::new(reader).lines(), writer })
    }

    pub(super) async fn pid(&self) -> u32 {
        self.process.pid().await
    }

    /// Gives an order, and returns its answer. Returns an error if the node cannot obey.
    pub(super) async fn order<T: DeserializeOwned>(&mut self, order: &Order) -> Result<T> {
        self.writer.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes()).await?;
        let line = self.lines.next_line().await?;
        let line = line.with_context(|| format!("{} has ended, see {:?}", self.process.name(), self.process.log()))?;
        let answer: Result<T, String> = serde_json::from_str(&line)?;
        answer.map_err(|error| anyhow!("{}: {error}", self.process.name()))
    }

    /// Orders works in turns, without pauses.
    pub(super) async fn turns<const N: usize>(&mut self, works: [Work; N], rounds: usize) -> Result<[Times; N]> {
        let order = Order::Turns { works: works.to_vec(), rounds, pauses: Pauses::None, warm_up: true };
        let times: Vec<Times> = self.order(&order).await?;
        times.try_into().map_err(|_| anyhow!("a node answered with the times of other works"))
    }
}
