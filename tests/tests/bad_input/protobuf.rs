//! Family: protobuf that does not decode, or that no generated client would write.

use anyhow::Result;
use bytes::Bytes;
use prost::Message;
use quipu_proto::v1;
use quipu_types::ErrorCode::{
    InvalidPartitions, InvalidReplication, Malformed, RequestTooLarge, UnknownPartition,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::bench::Bench;
use crate::catalogue::{Catalogue, Want};
use crate::raw::{framed, post};
use crate::refusal::{Answer, Reply, only};
use crate::wire::Wire;

const LIST_OFFSETS: &str = "/quipu.v1.Log/ListOffsets";
const PRODUCE: &str = "/quipu.v1.Log/Produce";
const FETCH: &str = "/quipu.v1.Log/Fetch";
const CREATE: &str = "/quipu.v1.Admin/CreateTopic";
const DELETE: &str = "/quipu.v1.Admin/DeleteTopic";
const ALTER: &str = "/quipu.v1.Admin/AlterTopic";
const DESCRIBE: &str = "/quipu.v1.Admin/DescribeTopics";
const DELETE_RECORDS: &str = "/quipu.v1.Admin/DeleteRecords";
const METADATA: &str = "/quipu.v1.Cluster/Metadata";
const CHECKSUM: &str = "/quipu.v1.Cluster/PartitionChecksum";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("protobuf");
    undecodable(bench.any(), catalogue).await?;
    million(bench.any(), catalogue).await?;
    lenient(bench, catalogue).await?;
    ids(bench, catalogue).await
}

/// What is not protobuf never becomes a request: gRPC says so, before anybody of ours looks.
async fn undecodable(channel: &Channel, catalogue: &mut Catalogue) -> Result<()> {
    let not_utf8 = [0xC3, 0x28];
    let pair = |key: &[u8], value: &[u8]| Wire::new().bytes(1, key).bytes(2, value).done();
    let deep = |depth: usize| vec![0x7B; depth];
    let groups = [deep(101), vec![0x7C; 101]].concat();
    let cases: Vec<(&str, &str, Wire)> = vec![
        ("a name not UTF-8 in create", CREATE, Wire::new().bytes(1, &not_utf8)),
        ("a key not UTF-8 in create", CREATE, Wire::new().bytes(4, &pair(&not_utf8, b"1"))),
        ("a value not UTF-8 in create", CREATE, Wire::new().bytes(4, &pair(b"k", &not_utf8))),
        ("a name not UTF-8 in delete", DELETE, Wire::new().bytes(1, &not_utf8)),
        ("a key not UTF-8 in alter", ALTER, Wire::new().bytes(3, &not_utf8)),
        ("a name not UTF-8 in describe", DESCRIBE, Wire::new().bytes(1, &not_utf8)),
        ("a name not UTF-8 in metadata", METADATA, Wire::new().bytes(1, &not_utf8)),
        ("a name not UTF-8 in checksum", CHECKSUM, Wire::new().bytes(1, &not_utf8)),
        (
            "a name not UTF-8 in delete records",
            DELETE_RECORDS,
            Wire::new().bytes(1, &Wire::new().bytes(1, &not_utf8).done()),
        ),
        ("a text as a number", CREATE, Wire::new().number(1, 5)),
        ("a number as a text", CREATE, Wire::new().bytes(2, b"5")),
        ("a message as a number", LIST_OFFSETS, Wire::new().number(1, 5)),
        ("field number 0", LIST_OFFSETS, Wire::new().number(0, 1)),
        ("wire type 6", LIST_OFFSETS, Wire::new().raw(&[0x0E, 0x00])),
        ("wire type 7", LIST_OFFSETS, Wire::new().raw(&[0x0F, 0x00])),
        ("a tag without a value", LIST_OFFSETS, Wire::new().raw(&[0x10])),
        ("a tag cut short", LIST_OFFSETS, Wire::new().raw(&[0x80])),
        ("a varint of 11 bytes", LIST_OFFSETS, Wire::new().raw(&[0x10]).raw(&[0xFF; 11])),
        ("a length beyond the end", LIST_OFFSETS, Wire::new().raw(&[0x0A, 0x7F, 0x00])),
        ("a length of 2^63", LIST_OFFSETS, Wire::new().raw(&[0x0A]).raw(&[0xFF; 9]).raw(&[0x01])),
        ("a fixed number cut short", LIST_OFFSETS, Wire::new().raw(&[0x79, 0x00])),
        ("an end of a group that did not begin", LIST_OFFSETS, Wire::new().raw(&[0x7C])),
        ("a group without an end", LIST_OFFSETS, Wire::new().raw(&[0x7B])),
        ("groups 101 deep", LIST_OFFSETS, Wire::new().raw(&groups)),
        ("groups a hundred thousand deep", LIST_OFFSETS, Wire::new().raw(&deep(100_000))),
        ("garbage", LIST_OFFSETS, Wire::new().raw(&[0xA5; 333])),
        ("garbage to a stream of batches", PRODUCE, Wire::new().raw(&[0xA5; 333])),
        ("garbage to a stream of fetches", FETCH, Wire::new().raw(&[0xA5; 333])),
    ];
    for (name, path, wire) in cases {
        let reply = post(channel, path, framed(&wire.done())).await?;
        catalogue.case(name, Want::Grpc(Code::Internal), &reply);
    }
    Ok(())
}

/// A million empty items take two megabytes to send: they are counted before anything is done.
async fn million(channel: &Channel, catalogue: &mut Catalogue) -> Result<()> {
    const COUNT: usize = 1_000_000;
    let items = |tag: u8| framed(&[tag, 0x00].repeat(COUNT));
    let reply = post(channel, LIST_OFFSETS, items(0x0A)).await?;
    catalogue.case("a million queries", RequestTooLarge, &reply);
    let reply = post(channel, DELETE_RECORDS, items(0x0A)).await?;
    catalogue.case("a million targets", RequestTooLarge, &reply);
    let reply = post(channel, METADATA, items(0x12)).await?;
    catalogue.case("a million ids", RequestTooLarge, &reply);
    let reply = post(channel, DESCRIBE, items(0x0A)).await?;
    catalogue.case("a million names", RequestTooLarge, &reply);
    let reply = post(channel, PRODUCE, items(0x22)).await?;
    catalogue.case("a million batches", RequestTooLarge, &decoded::<v1::ProduceResponse>(reply)?);
    let reply = post(channel, FETCH, items(0x2A)).await?;
    catalogue.case("a million positions", RequestTooLarge, &decoded::<v1::FetchResponse>(reply)?);
    Ok(())
}

/// The typed answer inside the bytes.
fn decoded<T: Answer + Message + Default>(reply: Reply<Bytes>) -> Result<Reply<T>> {
    match reply {
        Ok(bytes) => Ok(T::decode(bytes)?.reply()),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// What protobuf allows is allowed; what it turns into is judged.
async fn lenient(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let dry = |name: &[u8]| Wire::new().bytes(1, name).number(5, 1);
    let pair = |key: &[u8], value: &[u8]| Wire::new().bytes(1, key).bytes(2, value).done();
    let minus_one = u64::MAX;
    let cases = [
        ("an unknown field", Want::Accepted, dry(b"bad.proto").bytes(1000, b"news")),
        ("an unknown group", Want::Accepted, dry(b"bad.proto").raw(&[0x7B, 0x7C])),
        ("a field twice: the last counts", Want::Accepted, dry(b"a/b").bytes(1, b"bad.proto")),
        (
            "a setting twice: the last counts",
            Want::Accepted,
            dry(b"bad.proto")
                .bytes(4, &pair(b"max-batch-bytes", b"no"))
                .bytes(4, &pair(b"max-batch-bytes", b"4096")),
        ),
        ("partitions -1", InvalidPartitions.into(), dry(b"bad.proto").number(2, minus_one)),
        ("replication -1", InvalidReplication.into(), dry(b"bad.proto").number(3, minus_one)),
    ];
    for (name, want, wire) in cases {
        let reply = post(bench.any(), CREATE, framed(&wire.done())).await?;
        catalogue.case(name, want, &decoded::<v1::CreateTopicResponse>(reply)?);
    }
    let topic = bench.topic("bad.proto.typed", 1, &[]).await?;
    let query = Wire::new().bytes(1, &topic.id).number(2, minus_one).bytes(4, &[]);
    let body = framed(&Wire::new().bytes(1, &query.done()).done());
    let reply = decoded_answer(post(bench.any(), LIST_OFFSETS, body).await?)?;
    catalogue.case("partition -1", UnknownPartition, &reply);
    Ok(())
}

fn decoded_answer(reply: Reply<Bytes>) -> Result<Reply<v1::OffsetAnswer>> {
    match reply {
        Ok(bytes) => Ok(only(v1::ListOffsetsResponse::decode(bytes)?.answers)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Ids of topics have 16 bytes; the refusal names the field.
async fn ids(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    for length in [0, 1, 15, 17, 32, 100_000] {
        let topic_id = Bytes::from(vec![7; length]);
        let name = |verb: &str| format!("an id of {length} bytes in {verb}");
        let replies = crate::ids::everywhere(bench.any(), topic_id).await?;
        for (verb, reply) in replies {
            catalogue.case(name(verb), Malformed, &reply);
            catalogue.note(name(verb), crate::ids::names_the_field(&reply));
        }
    }
    Ok(())
}
