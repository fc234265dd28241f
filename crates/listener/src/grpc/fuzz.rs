//! What is checked of a request before the broker is asked: a door for fuzz targets.

use bytes::Bytes;
use prost::Message;
use quipu_proto::v1;
use quipu_types::limits;

use super::{fetch, groups, join, list_offsets, metadata, produce, validate};

/// A request with checks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Appends batches.
    Produce,
    /// Reads batches.
    Fetch,
    /// Looks for offsets.
    ListOffsets,
    /// Asks what to route by.
    Metadata,
    /// A member's first word.
    Join,
    /// A member's later words.
    Heartbeat,
    /// Stores positions.
    CommitOffsets,
    /// Reads positions.
    FetchOffsets,
}

/// Reads a request and checks it as its handler does: how many things it names.
///
/// # Errors
/// What the client would be told.
pub fn check(request: Request, bytes: Bytes) -> Result<usize, String> {
    match request {
        Request::Produce => {
            let request = decode::<v1::ProduceRequest>(bytes)?;
            validate::acks(request.acks).map_err(words)?;
            let _ = produce::timeout(request.timeout_ms);
            produce::check(request.batches).map(|(slots, _)| slots.len()).map_err(words)
        }
        Request::Fetch => {
            let request = decode::<v1::FetchRequest>(bytes)?;
            let _ = fetch::whole_bytes_max(request.max_bytes);
            fetch::positions(&request.positions).map(|found| found.len()).map_err(words)
        }
        Request::ListOffsets => {
            let request = decode::<v1::ListOffsetsRequest>(bytes)?;
            list_offsets::queries(&request.queries).map(|found| found.len()).map_err(words)
        }
        Request::Metadata => {
            let filter = metadata::filter(decode(bytes)?).map_err(words)?;
            Ok(filter.names.len().max(filter.ids.len()))
        }
        Request::Join => {
            let command = join::command(decode(bytes)?, String::new()).map_err(words)?;
            Ok(command.held.values().map(Vec::len).sum())
        }
        Request::Heartbeat => {
            let heartbeat = join::heartbeat(decode(bytes)?).map_err(words)?;
            Ok(heartbeat.held.iter().flat_map(|held| held.values()).map(Vec::len).sum())
        }
        Request::CommitOffsets => {
            let request = decode::<v1::CommitOffsetsRequest>(bytes)?;
            groups::positions(&request.offsets).map(|found| found.len()).map_err(words)
        }
        Request::FetchOffsets => {
            let request = decode::<v1::FetchOffsetsRequest>(bytes)?;
            let limit = limits::REQUEST_PARTITIONS_MAX;
            let found = groups::partitions(&request.partitions, "partitions", limit);
            found.map(|found| found.len()).map_err(words)
        }
    }
}

fn decode<T: Message + Default>(bytes: Bytes) -> Result<T, String> {
    T::decode(bytes).map_err(words)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn words(error: impl ToString) -> String {
    error.to_string()
}
