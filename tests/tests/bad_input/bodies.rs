//! Family: gRPC's own framing.

use anyhow::Result;
use quipu_types::limits;
use tonic::Code;

use crate::bench::Bench;
use crate::catalogue::Catalogue;
use crate::raw::{frame, framed, post, post_with};

const LIST_OFFSETS: &str = "/quipu.v1.Log/ListOffsets";
const PRODUCE: &str = "/quipu.v1.Log/Produce";
const FETCH: &str = "/quipu.v1.Log/Fetch";
const CREATE: &str = "/quipu.v1.Admin/CreateTopic";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("grpc");
    let channel = bench.any();
    let limit = u32::try_from(limits::GRPC_MESSAGE_BYTES_MAX)?;
    for path in [LIST_OFFSETS, PRODUCE, FETCH, CREATE] {
        let name = |what: &str| format!("{what} to {path}");
        let bodies = [
            ("compression flag 2", Code::Internal, frame(2, 1, &[0])),
            ("compression flag 255", Code::Internal, frame(255, 1, &[0])),
            ("a flag without a codec", Code::Internal, frame(1, 1, &[0])),
            ("half a prefix", Code::Internal, vec![0, 0, 0]),
            ("a message cut short", Code::Internal, frame(0, 100, &[0; 10])),
            ("a length one above the limit", Code::OutOfRange, frame(0, limit + 1, &[0; 10])),
            ("a length of four gigabytes", Code::OutOfRange, frame(0, u32::MAX, &[0; 10])),
        ];
        for (what, code, body) in bodies {
            catalogue.case(name(what), code, &post(channel, path, body).await?);
        }
        let gzip = [("grpc-encoding", "gzip")];
        let reply = post_with(channel, path, frame(1, 1, &[0]), &gzip).await?;
        catalogue.case(name("a codec nobody offered"), Code::Unimplemented, &reply);
        let reply = post_with(channel, path, framed(&[]), &[("grpc-encoding", "rot13")]).await?;
        catalogue.case(name("a codec nobody knows"), Code::Unimplemented, &reply);
    }
    for path in [LIST_OFFSETS, CREATE] {
        let reply = post(channel, path, frame(0, 100, &[])).await?;
        catalogue.case(format!("a prefix alone to {path}"), Code::Internal, &reply);
    }
    let reply = post(channel, LIST_OFFSETS, Vec::new()).await?;
    catalogue.case("no message at all", Code::Internal, &reply);
    let behind = [framed(&[]), vec![0; 3]].concat();
    let reply = post(channel, LIST_OFFSETS, behind).await?;
    catalogue.case("bytes behind the message", Code::Internal, &reply);
    for path in ["/", "/quipu.v1.Log", "/quipu.v1.Log/Steal", "/quipu.v2.Log/Produce", "/a/b/c"] {
        let reply = post(channel, path, framed(&[])).await?;
        catalogue.case(format!("a call of {path}"), Code::Unimplemented, &reply);
    }
    Ok(())
}
