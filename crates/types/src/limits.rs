//! Every bound an operator should not turn, with its reason.

/// Kafka's bound, so that names carry over; leaves room for suffixes in a 255-byte file name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Default for the largest batch a topic takes: events above 1 MB belong into a blob store.
pub const BATCH_BYTES_MAX_DEFAULT: usize = 1 << 20;
/// The largest value a topic's `max-batch-bytes` may have: one bundle must hold one batch.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// A single request carries batches of many partitions.
pub const PRODUCE_REQUEST_BYTES_MAX: usize = 16 << 20;
/// What one fetch returns at most, whatever it asks for.
pub const FETCH_RESPONSE_BYTES_MAX: usize = 16 << 20;
/// Largest gRPC message either way: a request plus its frame of names and numbers.
pub const GRPC_MESSAGE_BYTES_MAX: usize = (16 << 20) + (1 << 20);
/// Partitions one request may name.
pub const REQUEST_PARTITIONS_MAX: usize = 10_000;
/// Longest wait of a fetch: stays below the idle timeouts of usual proxies.
pub const FETCH_WAIT_MS_MAX: u32 = 30_000;
/// Longest wait of a produce request.
pub const PRODUCE_TIMEOUT_MS_MAX: u32 = 300_000;
/// Headers of one record.
pub const RECORD_HEADERS_MAX: usize = 1_000;
/// Records of one batch: bounds the work of a consumer that decodes it.
pub const BATCH_RECORDS_MAX: u32 = 1_000_000;
/// Partitions of one topic.
pub const TOPIC_PARTITIONS_MAX: u32 = 10_000;
/// Partitions of a cluster: each costs a table row and two small files.
pub const CLUSTER_PARTITIONS_MAX: u32 = 200_000;
/// Replicas of a shard.
pub const REPLICATION_MAX: u8 = 7;
/// One Raft entry: small enough for steady heartbeats beside it, large enough to fill a flush.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;
/// Commands of one bundle.
pub const BUNDLE_COMMANDS_MAX: usize = 4_096;
/// Bundles a shard leader keeps proposed but not applied; the next one fills meanwhile.
pub const BUNDLES_IN_FLIGHT_MAX: usize = 8;
/// Bytes waiting in one shard's queue before producers are held at the socket.
pub const SHARD_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes of requests a node holds at once, over all connections.
pub const NODE_REQUEST_BYTES_MAX: usize = 256 << 20;
/// Produce requests one connection may have unanswered.
pub const CONNECTION_PRODUCE_IN_FLIGHT_MAX: usize = 64;
/// Batches per producer remembered for deduplication (KIP-98, widened by KAFKA-5494).
pub const PRODUCER_BATCHES_KEPT: usize = 5;
/// Producers remembered per partition; the longest silent one goes first.
pub const PARTITION_PRODUCERS_MAX: usize = 20_000;
/// Timestamps may run ahead of the leader's clock by this much (default since Kafka 4.0).
pub const TIMESTAMP_AHEAD_MS_MAX: i64 = 3_600_000;
/// Bytes a compressed batch may become when decompressed: refuses bombs.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
/// Bytes a compressed batch of a compacted topic may become: as large as a plain one may be there,
/// for the broker looks into each, and what compaction writes may be plain.
pub const COMPACTED_PLAIN_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Producer ids are handed out in blocks, one metadata entry per block.
pub const PRODUCER_ID_BLOCK: u64 = 1_000;
/// Bytes of one AppendEntries request between nodes.
pub const PEER_APPEND_BYTES_MAX: usize = 4 << 20;
/// AppendEntries requests in flight per shard and follower.
pub const PEER_APPENDS_IN_FLIGHT_MAX: usize = 64;

/// Members of one consumer group: each change of the group computes an assignment for all.
pub const GROUP_MEMBERS_MAX: usize = 5_000;
/// Consumer groups of one shard: all of them are in memory.
pub const GROUPS_PER_SHARD_MAX: usize = 20_000;
/// Bytes of a group's name, as for topics of other systems.
pub const GROUP_NAME_BYTES_MAX: usize = 255;
/// Bytes of a member id or an instance id: a UUID and a prefix fit.
pub const MEMBER_ID_BYTES_MAX: usize = 64;
/// Bytes of the text a commit may carry along (Kafka's default).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;
/// Topics and patterns of one subscription.
pub const SUBSCRIPTION_TOPICS_MAX: usize = 1_000;
/// Bytes of one change of a consumer group: it travels as one log entry, in one message.
pub const GROUP_COMMAND_BYTES_MAX: usize = 8 << 20;
/// Coordinator slices of a cluster, fixed when it is formed (ARCHITECTURE D10).
pub const COORDINATOR_SLICES: u32 = 16;

const _: () = assert!(BATCH_BYTES_MAX_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= PRODUCE_REQUEST_BYTES_MAX);
const _: () = assert!(PRODUCE_REQUEST_BYTES_MAX < GRPC_MESSAGE_BYTES_MAX);
const _: () = assert!(FETCH_RESPONSE_BYTES_MAX < GRPC_MESSAGE_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX + BUNDLE_BYTES_MAX < GRPC_MESSAGE_BYTES_MAX);
const _: () = assert!(COMPACTED_PLAIN_BYTES_MAX <= DECOMPRESSED_BYTES_MAX);
const _: () = assert!(COMPACTED_PLAIN_BYTES_MAX < FETCH_RESPONSE_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= SHARD_QUEUE_BYTES_MAX);
