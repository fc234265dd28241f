//! A cluster of fake nodes: one model of topics, behind as many gRPC servers as wanted.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use quipu_client::{Client, ErrorCode};
use quipu_proto::v1;
use quipu_types::record::ValidatedBatch;
use quipu_types::{LeaderEpoch, Offset};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::groups::Groups;

pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a node does with one batch.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Normal,
    Refuse(ErrorCode, v1::Effect, Option<v1::Retry>),
    /// Does the work, then ends the stream without an answer.
    StoreAndBreak,
    /// Ends the stream.
    Break,
    /// Never answers.
    Silence,
    /// Does the work and answers once [`Cluster::release`] was called.
    Hold,
}

/// A batch as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) node: u64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) records: u32,
    /// How many came before, over all partitions.
    pub(crate) number: usize,
}

type Script = Box<dyn FnMut(&Attempt) -> Act + Send>;

pub(crate) struct State {
    pub(crate) nodes: BTreeMap<u64, String>,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) attempts: Vec<Attempt>,
    /// Batches that arrived and were not answered, and the most there ever were.
    pub(crate) open: usize,
    pub(crate) most_open: usize,
    pub(crate) next_producer: i64,
    /// Nodes that do not know any topic.
    pub(crate) ignorant: Vec<u64>,
    /// Nodes that have no replica of anything.
    pub(crate) without_replicas: Vec<u64>,
    pub(crate) fetches: Vec<u64>,
    /// Ends the fetch streams of this many requests.
    pub(crate) break_fetches: u32,
    pub(crate) groups: Groups,
    script: Script,
}

pub(crate) struct Topic {
    pub(crate) id: [u8; 16],
    pub(crate) leaders: Vec<Option<u64>>,
    /// How many there were at first.
    first: u32,
    /// What metadata says, where it differs from the truth.
    pub(crate) rumour: Option<Vec<Option<u64>>>,
    pub(crate) logs: Vec<Log>,
    pub(crate) max_batch_bytes: u32,
}

impl Topic {
    fn describe(&self, name: &str) -> v1::TopicDescription {
        let partition = |(index, leader): (u32, &Option<u64>)| v1::PartitionDescription {
            index,
            leader_node: *leader,
            ..Default::default()
        };
        v1::TopicDescription {
            name: name.to_owned(),
            topic_id: self.id.to_vec().into(),
            replication: 3,
            partitions: (0..).zip(&self.leaders).map(partition).collect(),
            config: vec![v1::ConfigEntry {
                key: "max-batch-bytes".to_owned(),
                value: "1MiB".to_owned(),
                is_default: true,
                policy: None,
            }],
            error: None,
        }
    }
}

/// The last five batches of a producer's epoch: first and last sequence, base offset.
#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    batches: Vec<(i32, i32, u64)>,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<(u64, Bytes)>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    producers: HashMap<i64, Producer>,
}

/// The cluster as tests see it.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    pub(crate) changed: Arc<Notify>,
    held: Arc<tokio::sync::Semaphore>,
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) cluster: Cluster,
}

impl Cluster {
    /// Starts `nodes` servers and one topic, `fees`, led by node 1 + index mod nodes.
    pub(crate) async fn start(nodes: u64, partitions: u32) -> Self {
        let leaders = (0..partitions).map(|index| Some(1 + u64::from(index) % nodes)).collect();
        let topic = Topic {
            id: [7; 16],
            leaders,
            first: partitions,
            rumour: None,
            logs: (0..partitions).map(|_| Log::default()).collect(),
            max_batch_bytes: 1 << 20,
        };
        let state = State {
            nodes: BTreeMap::new(),
            topics: BTreeMap::from([("fees".to_owned(), topic)]),
            attempts: Vec::new(),
            open: 0,
            most_open: 0,
            next_producer: 100,
            ignorant: Vec::new(),
            without_replicas: Vec::new(),
            fetches: Vec::new(),
            break_fetches: 0,
            groups: Groups::new(),
            script: Box::new(|_| Act::Normal),
        };
        let cluster = Self {
            state: Arc::new(Mutex::new(state)),
            changed: Arc::default(),
            held: Arc::new(tokio::sync::Semaphore::new(0)),
        };
        for id in 1..=nodes {
            cluster.start_node(id).await;
        }
        cluster
    }

    #[expect(clippy::disallowed_methods, reason = "a test's server ends with its runtime")]
    async fn start_node(&self, id: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.lock().nodes.insert(id, address);
        let node = Node { id, cluster: self.clone() };
        let server = tonic::transport::Server::builder()
            .add_service(v1::log_server::LogServer::new(node.clone()))
            .add_service(v1::groups_server::GroupsServer::new(node.clone()))
            .add_service(v1::cluster_server::ClusterServer::new(node.clone()))
            .add_service(v1::admin_server::AdminServer::new(node))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn script(&self, script: impl FnMut(&Attempt) -> Act + Send + 'static) {
        self.lock().script = Box::new(script);
    }

    pub(crate) fn address(&self, node: u64) -> String {
        self.lock().nodes[&node].clone()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::builder(&self.address(1))
            .service("test")
            .request_timeout(Duration::from_secs(5))
            .connect()
            .await
            .unwrap()
    }

    /// Lets so many held batches be answered.
    pub(crate) fn release(&self, batches: usize) {
        self.held.add_permits(batches);
    }

    /// Waits until the state is as wanted.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if is_so(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(waited.is_ok(), "waited in vain for: {what}");
    }

    /// All values of a partition, in order.
    pub(crate) fn values(&self, partition: usize) -> Vec<String> {
        let state = self.lock();
        let log = &state.topics["fees"].logs[partition];
        let mut values = Vec::new();
        for (_, bytes) in &log.batches {
            let batch = ValidatedBatch::parse(bytes.clone()).unwrap();
            for record in quipu_compression::records(&batch, 1 << 20).unwrap() {
                let value = record.unwrap().1.value.unwrap();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
        values
    }
}

pub(crate) fn error(
    code: ErrorCode,
    effect: v1::Effect,
    retry: Option<v1::Retry>,
    fields: &[(&str, u64)],
) -> v1::Error {
    v1::Error {
        code: code.to_string(),
        name: code.name().to_owned(),
        message: code.summary().to_owned(),
        effect: effect.into(),
        retry,
        fields: fields.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect(),
    }
}

pub(crate) fn soon() -> Option<v1::Retry> {
    Some(v1::Retry { after_ms: Some(1), node_id: None })
}

pub(crate) fn refusal(code: ErrorCode) -> v1::Error {
    error(code, v1::Effect::None, None, &[])
}

impl State {
    fn topic_by_id(&mut self, id: &[u8]) -> Option<&mut Topic> {
        self.topics.values_mut().find(|topic| topic.id == id)
    }

    /// Who has no replica sends to the first node.
    fn elsewhere(&self, node: u64) -> Option<v1::Error> {
        let retry = Some(v1::Retry { after_ms: None, node_id: Some(1) });
        let error = || error(ErrorCode::WrongNode, v1::Effect::None, retry, &[]);
        self.without_replicas.contains(&node).then(error)
    }

    fn metadata(&self, node: u64, name: &str) -> v1::TopicMetadata {
        let known = self.topics.get(name).filter(|_| !self.ignorant.contains(&node));
        let Some(topic) = known else {
            let error = Some(refusal(ErrorCode::UnknownTopic));
            return v1::TopicMetadata { name: name.to_owned(), error, ..Default::default() };
        };
        let leaders = topic.rumour.as_ref().unwrap_or(&topic.leaders);
        let partitions = leaders
            .iter()
            .map(|leader| v1::PartitionMetadata { leader_node: *leader, replica_nodes: vec![] });
        v1::TopicMetadata {
            name: name.to_owned(),
            topic_id: topic.id.to_vec().into(),
            partitions: partitions.collect(),
            max_batch_bytes: topic.max_batch_bytes,
            error: None,
            partitions_first: topic.first,
        }
    }

    fn produce(&mut self, node: u64, batch: &v1::ProduceBatch) -> v1::ProduceResult {
        let (topic_id, partition) = (batch.topic_id.clone(), batch.partition);
        let parsed = ValidatedBatch::parse(batch.records.clone()).expect("a whole batch");
        let result = match self.topic_by_id(&batch.topic_id) {
            None => Err(Box::new(refusal(ErrorCode::UnknownTopicId))),
            Some(topic) => {
                let index = usize::try_from(partition).unwrap();
                match topic.leaders[index] {
                    Some(leader) if leader == node => topic.logs[index].append(&parsed),
                    leader => Err(Box::new(not_leader(leader))),
                }
            }
        };
        let (base, is_duplicate, error) = match result {
            Ok((base, is_duplicate)) => (Some(base), is_duplicate, None),
            Err(error) => (None, false, Some(*error)),
        };
        v1::ProduceResult {
            topic_id,
            partition,
            base_offset: base,
            log_start: 0,
            is_duplicate,
            log_append_time_ms: None,
            error,
        }
    }

    fn fetch(&mut self, node: u64, position: &v1::FetchPosition) -> Option<v1::FetchedPartition> {
        let mut answer = v1::FetchedPartition {
            topic_id: position.topic_id.clone(),
            partition: position.partition,
            ..Default::default()
        };
        let Some(topic) = self.topic_by_id(&position.topic_id) else {
            answer.error = Some(refusal(ErrorCode::UnknownTopicId));
            return Some(answer);
        };
        let index = usize::try_from(position.partition).unwrap();
        let leader = topic.leaders[index];
        if leader != Some(node) {
            answer.error = Some(not_leader(leader));
            return Some(answer);
        }
        let log = &topic.logs[index];
        (answer.log_start, answer.high_watermark) = (log.start, log.end);
        if !(log.start..=log.end).contains(&position.offset) {
            let fields = [("log_start", log.start), ("high_watermark", log.end)];
            let code = ErrorCode::OffsetOutOfRange;
            answer.error = Some(error(code, v1::Effect::None, None, &fields));
            return Some(answer);
        }
        let from = log.batches.partition_point(|(last, _)| *last < position.offset);
        let found: Vec<u8> =
            log.batches[from..].iter().take(3).flat_map(|(_, bytes)| bytes.to_vec()).collect();
        answer.records = found.into();
        (!answer.records.is_empty()).then_some(answer)
    }
}

pub(crate) fn not_leader(leader: Option<u64>) -> v1::Error {
    let (code, retry) = match leader {
        Some(node) => {
            (ErrorCode::NotLeader, Some(v1::Retry { after_ms: None, node_id: Some(node) }))
        }
        None => (ErrorCode::LeaderUnknown, soon()),
    };
    error(code, v1::Effect::None, retry, &[])
}

impl Log {
    /// KIP-98 with the last five batches.
    fn append(&mut self, batch: &ValidatedBatch) -> Result<(u64, bool), Box<v1::Error>> {
        let header = *batch.header();
        let (id, first) = (header.producer_id.get(), header.base_sequence.get());
        let last = first + header.last_offset_delta;
        if id >= 0 {
            let epoch = header.producer_epoch.get();
            let producer = self.producers.entry(id).or_default();
            if epoch < producer.epoch {
                return Err(Box::new(refusal(ErrorCode::ProducerFenced)));
            }
            if epoch > producer.epoch {
                *producer = Producer { epoch, batches: Vec::new() };
            }
            let known = &mut producer.batches;
            if let Some((.., base)) = known.iter().find(|known| (known.0, known.1) == (first, last))
            {
                return Ok((*base, true));
            }
            match known.last() {
                None if first > 0 => return Err(Box::new(refusal(ErrorCode::UnknownProducer))),
                Some((_, newest, _)) if first <= *newest => {
                    return Err(Box::new(refusal(ErrorCode::DuplicateSequence)));
                }
                Some((_, newest, _)) if first != newest + 1 => {
                    return Err(Box::new(refusal(ErrorCode::OutOfOrderSequence)));
                }
                None | Some(_) => {}
            }
            known.push((first, last, self.end));
            if known.len() > 5 {
                known.remove(0);
            }
        }
        let base = self.end;
        let prefix = batch.stamped_prefix(Offset::new(base), LeaderEpoch::new(1));
        let mut bytes = prefix.to_vec();
        bytes.extend_from_slice(&batch.bytes()[16..]);
        self.end += u64::from(batch.record_count());
        self.batches.push((self.end - 1, bytes.into()));
        Ok((base, false))
    }

    pub(crate) fn trim(&mut self, to: u64) {
        self.start = to;
        self.batches.retain(|(last, _)| *last >= to);
    }
}

impl Node {
    /// Answers one request, or not, or ends the stream.
    async fn produce_one(
        &self,
        request: &v1::ProduceRequest,
    ) -> Result<Option<v1::ProduceResponse>, Status> {
        let mut results = Vec::new();
        for batch in &request.batches {
            let act = self.note(batch);
            let done = match act {
                Act::Normal | Act::StoreAndBreak | Act::Hold => {
                    Some(self.cluster.lock().produce(self.id, batch))
                }
                Act::Refuse(code, effect, retry) => Some(v1::ProduceResult {
                    topic_id: batch.topic_id.clone(),
                    partition: batch.partition,
                    error: Some(error(code, effect, retry, &[])),
                    ..Default::default()
                }),
                Act::Break => None,
                Act::Silence => return Ok(None),
            };
            self.cluster.changed.notify_waiters();
            if matches!(act, Act::StoreAndBreak) {
                return Err(Status::unavailable("told to break"));
            }
            if matches!(act, Act::Hold) {
                self.cluster.held.acquire().await.unwrap().forget();
            }
            results.push(done.ok_or_else(|| Status::unavailable("told to break"))?);
        }
        let request_id = request.request_id;
        Ok(Some(v1::ProduceResponse { request_id, results, error: None }))
    }

    /// Takes requests as they arrive, before earlier ones are answered.
    async fn arrive(
        &self,
        mut requests: Streaming<v1::ProduceRequest>,
        arrived: mpsc::Sender<v1::ProduceRequest>,
    ) {
        while let Some(Ok(request)) = requests.next().await {
            {
                let mut state = self.cluster.lock();
                state.open += request.batches.len();
                state.most_open = state.most_open.max(state.open);
            }
            self.cluster.changed.notify_waiters();
            if arrived.send(request).await.is_err() {
                return;
            }
        }
    }

    fn note(&self, batch: &v1::ProduceBatch) -> Act {
        let parsed = ValidatedBatch::parse(batch.records.clone()).expect("a whole batch");
        let mut state = self.cluster.lock();
        let attempt = Attempt {
            node: self.id,
            producer_id: parsed.header().producer_id.get(),
            producer_epoch: parsed.header().producer_epoch.get(),
            sequence: parsed.header().base_sequence.get(),
            records: parsed.record_count(),
            number: state.attempts.len(),
        };
        state.attempts.push(attempt.clone());
        let act = (state.script)(&attempt);
        drop(state);
        self.cluster.changed.notify_waiters();
        act
    }

    async fn fetch_one(&self, request: &v1::FetchRequest) -> Option<v1::FetchResponse> {
        let wait = Duration::from_millis(u64::from(request.max_wait_ms));
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.cluster.changed.notified();
            {
                let mut state = self.cluster.lock();
                state.fetches.push(self.id);
                if state.break_fetches > 0 {
                    state.break_fetches -= 1;
                    return None;
                }
                let partitions: Vec<_> = request
                    .positions
                    .iter()
                    .filter_map(|position| state.fetch(self.id, position))
                    .collect();
                let is_over = tokio::time::Instant::now() >= deadline;
                if !partitions.is_empty() || is_over {
                    let request_id = request.request_id;
                    return Some(v1::FetchResponse { request_id, partitions, error: None });
                }
            }
            // The deadline ends the wait as well.
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
    }
}

#[tonic::async_trait]
impl v1::log_server::Log for Node {
    type ProduceStream = Answers<v1::ProduceResponse>;
    type FetchStream = Answers<v1::FetchResponse>;

    #[expect(clippy::disallowed_methods, reason = "a test's task ends with its runtime")]
    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let (answers, stream) = mpsc::channel(64);
        let (arrived, mut requests) = mpsc::channel(64);
        let (node, receiver) = (self.clone(), self.clone());
        tokio::spawn(async move { receiver.arrive(request.into_inner(), arrived).await });
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let answer = node.produce_one(&request).await.transpose();
                node.cluster.lock().open -= request.batches.len();
                let Some(answer) = answer else { continue };
                let is_last = answer.is_err();
                if answers.send(answer).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn fetch(
        &self,
        request: Request<Streaming<v1::FetchRequest>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let node = self.clone();
        let answers = request.into_inner().then(move |request| {
            let node = node.clone();
            async move {
                let answer = node.fetch_one(&request?).await;
                answer.ok_or_else(|| Status::unavailable("told to break"))
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let mut state = self.cluster.lock();
        let answers = request.into_inner().queries.into_iter().map(|query| {
            let topic = state.topic_by_id(&query.topic_id).expect("a known topic");
            let index = usize::try_from(query.partition).unwrap();
            let mut answer = v1::OffsetAnswer {
                topic_id: query.topic_id,
                partition: query.partition,
                ..Default::default()
            };
            if topic.leaders[index] != Some(self.id) {
                answer.error = Some(not_leader(topic.leaders[index]));
                return answer;
            }
            let log = &topic.logs[index];
            answer.offset = match query.at.expect("a question") {
                v1::offset_query::At::Earliest(_) => Some(log.start),
                v1::offset_query::At::Latest(_) => Some(log.end),
                v1::offset_query::At::TimestampMs(at) => {
                    log.batches.iter().find_map(|(_, bytes)| {
                        let batch = ValidatedBatch::parse(bytes.clone()).unwrap();
                        let mut records = batch.records().unwrap().map(Result::unwrap);
                        records
                            .find(|(_, record)| record.timestamp.get() >= at)
                            .map(|(offset, _)| offset.get())
                    })
                }
            };
            answer
        });
        Ok(Response::new(v1::ListOffsetsResponse { answers: answers.collect() }))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let mut state = self.cluster.lock();
        state.next_producer += 1;
        Ok(Response::new(v1::InitProducerResponse {
            producer_id: state.next_producer,
            producer_epoch: 0,
            error: None,
        }))
    }
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for Node {
    async fn metadata(
        &self,
        request: Request<v1::MetadataRequest>,
    ) -> Result<Response<v1::MetadataResponse>, Status> {
        let state = self.cluster.lock();
        let nodes = state.nodes.iter().map(|(id, address)| v1::Node {
            node_id: *id,
            address: address.clone(),
            is_alive: true,
            ..Default::default()
        });
        let request = request.into_inner();
        let by_id = request.topic_ids.iter().filter_map(|id| {
            state.topics.iter().find(|(_, topic)| topic.id == id[..]).map(|(name, _)| name)
        });
        let all = state.topics.keys().filter(|_| request.all_topics);
        let names: Vec<String> = request.names.iter().chain(by_id).chain(all).cloned().collect();
        Ok(Response::new(v1::MetadataResponse {
            cluster_id: "fake".to_owned(),
            controller_node: Some(1),
            nodes: nodes.collect(),
            topics: names.iter().map(|name| state.metadata(self.id, name)).collect(),
            version: 1,
        }))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        let answer = v1::DescribeClusterResponse { answering_node: self.id, ..Default::default() };
        Ok(Response::new(answer))
    }

    async fn partition_checksum(
        &self,
        _: Request<v1::PartitionChecksumRequest>,
    ) -> Result<Response<v1::PartitionChecksumResponse>, Status> {
        let error = self.cluster.lock().elsewhere(self.id);
        Ok(Response::new(v1::PartitionChecksumResponse {
            error,
            node_id: self.id,
            crc32c: 5,
            ..Default::default()
        }))
    }

    async fn describe_replica(
        &self,
        _: Request<v1::DescribeReplicaRequest>,
    ) -> Result<Response<v1::DescribeReplicaResponse>, Status> {
        let error = self.cluster.lock().elsewhere(self.id);
        Ok(Response::new(v1::DescribeReplicaResponse {
            error,
            node_id: self.id,
            shard: 5,
            ..Default::default()
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        // Only node 2 leads this shard: others send the caller there.
        let to = request.into_inner().to_node;
        let error = (self.id != 2).then(|| not_leader(Some(2)));
        if error.is_none() {
            self.cluster.lock().topics.get_mut("fees").unwrap().leaders[0] = Some(to);
        }
        Ok(Response::new(v1::TransferLeaderResponse { error }))
    }

    async fn change_node(
        &self,
        _: Request<v1::ChangeNodeRequest>,
    ) -> Result<Response<v1::ChangeNodeResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn move_replicas(
        &self,
        _: Request<v1::MoveReplicasRequest>,
    ) -> Result<Response<v1::MoveReplicasResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn rebalance(
        &self,
        _: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::RebalanceResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn finalize_level(
        &self,
        _: Request<v1::FinalizeLevelRequest>,
    ) -> Result<Response<v1::FinalizeLevelResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Node {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.cluster.lock();
        if state.topics.contains_key(&request.name) {
            let error = Some(refusal(ErrorCode::TopicExists));
            return Ok(Response::new(v1::CreateTopicResponse { topic: None, error }));
        }
        let partitions = request.partitions.max(1);
        let topic = Topic {
            id: [u8::try_from(state.topics.len()).unwrap() + 50; 16],
            leaders: vec![Some(1); usize::try_from(partitions).unwrap()],
            first: partitions,
            rumour: None,
            logs: (0..partitions).map(|_| Log::default()).collect(),
            max_batch_bytes: 1 << 20,
        };
        let description = topic.describe(&request.name);
        state.topics.insert(request.name, topic);
        let topic = Some(description);
        Ok(Response::new(v1::CreateTopicResponse { topic, error: None }))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        let removed = self.cluster.lock().topics.remove(&request.into_inner().name);
        let topic_id = removed.as_ref().map(|topic| topic.id.to_vec().into());
        let error = removed.is_none().then(|| refusal(ErrorCode::UnknownTopic));
        let topic_id = topic_id.unwrap_or_default();
        Ok(Response::new(v1::DeleteTopicResponse { topic_id, error }))
    }

    async fn alter_topic(
        &self,
        _: Request<v1::AlterTopicRequest>,
    ) -> Result<Response<v1::AlterTopicResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn move_partitions(
        &self,
        _: Request<v1::MovePartitionsRequest>,
    ) -> Result<Response<v1::MovePartitionsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn set_policy(
        &self,
        _: Request<v1::SetPolicyRequest>,
    ) -> Result<Response<v1::SetPolicyResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn delete_policy(
        &self,
        _: Request<v1::DeletePolicyRequest>,
    ) -> Result<Response<v1::DeletePolicyResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_policies(
        &self,
        _: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn add_partitions(
        &self,
        request: Request<v1::AddPartitionsRequest>,
    ) -> Result<Response<v1::AddPartitionsResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.cluster.lock();
        let refused = |code| v1::AddPartitionsResponse {
            error: Some(refusal(code)),
            ..v1::AddPartitionsResponse::default()
        };
        let Some(topic) = state.topics.get_mut(&request.name) else {
            return Ok(Response::new(refused(ErrorCode::UnknownTopic)));
        };
        let (before, total) = (topic.leaders.len(), usize::try_from(request.total).unwrap());
        if total < before {
            return Ok(Response::new(refused(ErrorCode::InvalidPartitions)));
        }
        topic.leaders.resize(total, Some(1));
        topic.logs.resize_with(total, Log::default);
        Ok(Response::new(v1::AddPartitionsResponse {
            topic: Some(topic.describe(&request.name)),
            partitions_before: u32::try_from(before).unwrap(),
            is_changed: total > before,
            error: None,
        }))
    }

    async fn describe_topics(
        &self,
        request: Request<v1::DescribeTopicsRequest>,
    ) -> Result<Response<v1::DescribeTopicsResponse>, Status> {
        let state = self.cluster.lock();
        let names = request.into_inner().names;
        let topics = names.iter().map(|name| v1::TopicDescription {
            name: name.clone(),
            error: (!state.topics.contains_key(name)).then(|| refusal(ErrorCode::UnknownTopic)),
            ..Default::default()
        });
        Ok(Response::new(v1::DescribeTopicsResponse { topics: topics.collect() }))
    }

    async fn delete_records(
        &self,
        request: Request<v1::DeleteRecordsRequest>,
    ) -> Result<Response<v1::DeleteRecordsResponse>, Status> {
        let mut state = self.cluster.lock();
        let results = request.into_inner().targets.into_iter().map(|target| {
            let index = usize::try_from(target.partition).unwrap();
            let log = &mut state.topics.get_mut(&target.topic).unwrap().logs[index];
            let to = target.before_offset.unwrap_or(log.end);
            log.trim(to);
            v1::DeleteRecordsResult {
                topic: target.topic,
                partition: target.partition,
                log_start: to,
                error: None,
            }
        });
        Ok(Response::new(v1::DeleteRecordsResponse { results: results.collect() }))
    }
}
