//! Reading: batches are fetched ahead, checked, and handed out record by record.
//!
//! One task per reader, the [`fetcher`], owns positions and streams; what it fetched waits in the
//! [`output`] until the reader takes it. Changes of leaders and broken connections stay inside.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Stream, StreamExt};
use metrics::Counter;
use quipu_types::limits::FETCH_RESPONSE_BYTES_MAX;
use quipu_types::{ErrorCode, NodeId, PartitionId, PartitionIndex};

use crate::client::Shared;
use crate::cluster_view::Topic;
use crate::position::{End, Start};
use crate::record::Record;
use crate::tasks::{Task, spawn_owned};
use crate::{Error, Result, clock, metrics as names};

pub(crate) mod bounds;
pub(crate) mod cursor;
pub(crate) mod fetcher;
pub(crate) mod output;
pub(crate) mod plan;

use bounds::Bounds;
use cursor::Cursor;
use fetcher::Fetcher;
use output::Output;
use plan::{Plan, Wanted};

/// Records of a topic, in order within each partition.
///
/// It is a [`Stream`]: `None` once every partition reached its end. An error is the last item;
/// [`Self::positions`] says where to go on. Dropping it stops reading.
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// use std::time::Duration;
///
/// use quipu_client::Start;
///
/// let mut reader = client.reader("fees").from(Start::Ago(Duration::from_secs(3600))).open().await?;
/// while let Some(record) = reader.next().await {
///     let record = record?;
///     println!("{}/{}@{}", record.topic, record.partition, record.offset);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    output: Arc<Output>,
    current: Option<Cursor>,
    positions: BTreeMap<u32, u64>,
    ends: BTreeMap<u32, Option<u64>>,
    consumed: Counter,
    is_over: bool,
    _fetcher: Task,
}

/// What happens when records were removed before they were read, or the position is above the
/// end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// The reader ends with [`Error::OffsetOutOfRange`].
    #[default]
    Fail,
    /// It goes on at the first kept record, with a warning in the log.
    Earliest,
    /// It goes on at the next record to be written, with a warning in the log.
    Latest,
}

/// Settings of a [`Reader`].
#[derive(Clone, Debug)]
#[must_use = "call open()"]
pub struct ReaderBuilder {
    client: Arc<Shared>,
    topic: String,
    start: Start,
    end: End,
    partitions: Vec<u32>,
    start_offsets: BTreeMap<u32, u64>,
    config: Config,
}

/// See [`ReaderBuilder`] for the meaning of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) buffer_bytes: usize,
    pub(crate) fetch_bytes: usize,
    pub(crate) max_wait: Duration,
    pub(crate) below_start: OutOfRange,
    pub(crate) above_end: OutOfRange,
    pub(crate) give_up_after: Duration,
    pub(crate) node: Option<NodeId>,
}

impl ReaderBuilder {
    pub(crate) fn new(client: Arc<Shared>, topic: &str) -> Self {
        Self {
            client,
            topic: topic.to_owned(),
            start: Start::Earliest,
            end: End::Never,
            partitions: Vec::new(),
            start_offsets: BTreeMap::new(),
            config: Config {
                buffer_bytes: 32 << 20,
                fetch_bytes: 1 << 20,
                max_wait: Duration::from_millis(500),
                below_start: OutOfRange::Fail,
                above_end: OutOfRange::Fail,
                give_up_after: Duration::from_secs(120),
                node: None,
            },
        }
    }

    /// The first record. The earliest unless set.
    pub fn from(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Where to stop. Never for a reader, the latest for a replay, unless set.
    pub fn until(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Only these partitions. All unless set.
    pub fn partitions(self, partitions: impl IntoIterator<Item = u32>) -> Self {
        Self { partitions: partitions.into_iter().collect(), ..self }
    }

    /// Where single partitions start, over [`Self::from`]: what [`Reader::positions`] gave.
    pub fn start_offsets(self, offsets: impl IntoIterator<Item = (u32, u64)>) -> Self {
        Self { start_offsets: offsets.into_iter().collect(), ..self }
    }

    /// Nothing more is fetched while so much is not read yet. 32 MiB unless set.
    pub fn buffer_bytes(self, bytes: usize) -> Self {
        Self { config: Config { buffer_bytes: bytes, ..self.config }, ..self }
    }

    /// What one fetch brings at most, if a single batch is not larger. 1 MiB unless set.
    pub fn fetch_bytes(self, bytes: usize) -> Self {
        Self { config: Config { fetch_bytes: bytes, ..self.config }, ..self }
    }

    /// How long a server waits for records before it answers that there are none; new records
    /// are answered at once. 500 ms unless set.
    pub fn max_wait(self, wait: Duration) -> Self {
        Self { config: Config { max_wait: wait, ..self.config }, ..self }
    }

    /// What to do when a position is outside of what is kept. Fails unless set.
    pub fn on_out_of_range(self, policy: OutOfRange) -> Self {
        let config = Config { below_start: policy, above_end: policy, ..self.config };
        Self { config, ..self }
    }

    /// Ends with an error when a partition could not be read for so long. 2 min unless set.
    pub fn give_up_after(self, timeout: Duration) -> Self {
        Self { config: Config { give_up_after: timeout, ..self.config }, ..self }
    }

    /// Reads from one node instead of the leaders, and fails where it does not serve a partition:
    /// for comparing replicas.
    pub fn at_node(self, node: NodeId) -> Self {
        Self { config: Config { node: Some(node), ..self.config }, ..self }
    }

    /// Finds where to start and to end, and starts to fetch.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`; [`Error::Timeout`] when a partition has no leader
    /// for too long; [`Error::Invalid`] for settings outside their bounds.
    pub async fn open(self) -> Result<Reader> {
        self.config.validate()?;
        let topic = self.client.topic(&self.topic).await?;
        let partitions = chosen(&topic, &self.partitions)?;
        let now = clock::wall();
        let positions =
            bounds::find(&self.client, &topic, &partitions, (self.start, self.end, now)).await?;
        let bounds: BTreeMap<u32, Bounds> = positions
            .into_iter()
            .map(|(index, found)| {
                let start = self.start_offsets.get(&index).copied().unwrap_or(found.start);
                (index, Bounds { start, ..found })
            })
            .collect();
        Ok(Reader::start(&self.client, &topic, &bounds, self.config))
    }
}

impl Config {
    pub(crate) fn validate(&self) -> Result<()> {
        let Self { fetch_bytes, buffer_bytes, .. } = *self;
        if !(1..=FETCH_RESPONSE_BYTES_MAX).contains(&fetch_bytes) {
            return Err(Error::invalid(format!(
                "fetch_bytes is {fetch_bytes}; it must be 1 to {FETCH_RESPONSE_BYTES_MAX}"
            )));
        }
        if buffer_bytes == 0 {
            return Err(Error::invalid("buffer_bytes is 0; it must be at least 1"));
        }
        Ok(())
    }
}

/// The partitions to read.
fn chosen(topic: &Topic, asked: &[u32]) -> Result<Vec<u32>> {
    let count = topic.partitions();
    if asked.is_empty() {
        return Ok((0..count).collect());
    }
    match asked.iter().find(|index| **index >= count) {
        None => Ok(asked.to_vec()),
        Some(index) => {
            let text = format!("topic {:?} has {count} partition(s), no {index}", topic.name);
            Err(Error::local(ErrorCode::UnknownPartition, text))
        }
    }
}

impl Reader {
    fn start(
        client: &Arc<Shared>,
        topic: &Arc<Topic>,
        bounds: &BTreeMap<u32, Bounds>,
        config: Config,
    ) -> Self {
        let output = Arc::new(Output::new());
        let wanted = bounds.iter().map(|(index, bounds)| {
            let id = PartitionId::new(topic.id, PartitionIndex::new(*index));
            (id, Wanted { topic: topic.name.clone(), generation: 0, bounds: *bounds })
        });
        let plan = Arc::new(Plan::fixed(wanted.collect()));
        let fetcher = Fetcher::new(client.clone(), plan, config);
        Self {
            positions: bounds.iter().map(|(index, bounds)| (*index, bounds.start)).collect(),
            ends: bounds.iter().map(|(index, bounds)| (*index, bounds.end)).collect(),
            consumed: names::consumed(&client.service, &topic.name),
            _fetcher: spawn_owned(fetcher.run(output.clone())),
            output,
            current: None,
            is_over: false,
        }
    }

    /// The next record; `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Record>> {
        StreamExt::next(self).await
    }

    /// Where each partition stands: the offset after the last record handed out.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<u32, u64> {
        self.positions.clone()
    }

    /// Where each partition ends, exclusive; `None` where it never does.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<u32, Option<u64>> {
        self.ends.clone()
    }

    fn hand_out(&mut self, record: Record) -> Record {
        self.positions.insert(record.partition, record.offset + 1);
        self.consumed.increment(1);
        record
    }
}

impl Stream for Reader {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.is_over {
            if let Some(cursor) = &mut self.current {
                match cursor.next() {
                    Some(Ok(record)) => return Poll::Ready(Some(Ok(self.hand_out(record)))),
                    Some(Err(error)) => {
                        self.is_over = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => self.current = None,
                }
            }
            match ready!(self.output.poll_take(context)) {
                Some(Ok(chunk)) => self.current = Some(Cursor::new(chunk)),
                Some(Err(error)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.is_over = true,
            }
        }
        Poll::Ready(None)
    }
}
