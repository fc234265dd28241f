//! Family: bytes on the client port that are no gRPC.

use std::net::SocketAddr;

use anyhow::Result;
use prost::Message;
use quipu_proto::v1;

use crate::batch::Batch;
use crate::bench::Bench;
use crate::catalogue::Catalogue;
use crate::h2::{
    self, CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, frame_of, hello,
};
use crate::raw::framed;
use crate::victim::Victim;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("connection");
    let address = bench.client_address(1);
    for (name, bytes) in foreign() {
        catalogue.judge(name, h2::is_refused(address, &bytes).await);
    }
    for (name, frames) in lawless() {
        let bytes = [hello(), frames].concat();
        catalogue.judge(name, h2::is_refused(address, &bytes).await);
    }
    truncated(bench, catalogue).await
}

/// Other protocols.
fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03];
    hello.extend([0x5A; 506]);
    let kafka = b"\0\0\0\x15\0\x12\0\x03\0\0\0\x01\0\x04test\0\x01a\x01b\0";
    vec![
        ("garbage", vec![0xA5; 64]),
        ("zeros", vec![0; 4096]),
        ("HTTP/1 GET", b"GET / HTTP/1.1\r\nhost: quipu\r\n\r\n".to_vec()),
        (
            "HTTP/1 POST",
            b"POST /quipu.v1.Log/Produce HTTP/1.1\r\nhost: q\r\ncontent-length: 5\r\n\r\nabcde".to_vec(),
        ),
        (
            "HTTP/1 upgrade",
            b"GET / HTTP/1.1\r\nhost: q\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n".to_vec(),
        ),
        ("TLS", hello),
        ("Kafka", kafka.to_vec()),
        ("a preface that goes wrong", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!".to_vec()),
    ]
}

/// Frames HTTP/2 forbids; each ends the connection (RFC 9113 §5.4.1).
fn lawless() -> Vec<(&'static str, Vec<u8>)> {
    let get = h2::headers("/quipu.v1.Log/ListOffsets");
    let half_window = (1_u32 << 31) - 1;
    vec![
        ("DATA on stream 0", frame(DATA, 0, 0, b"data")),
        ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, &get)),
        ("HEADERS on a server's stream", frame(HEADERS, END_HEADERS, 2, &get)),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"data")),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 5, &[0; 4])),
        ("RST_STREAM of three bytes", frame(RST_STREAM, 0, 1, &[0; 3])),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &get)),
        ("PUSH_PROMISE from a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("an acknowledgement with settings", frame(SETTINGS, 1, 0, &[0; 6])),
        ("a window of 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        (
            "a window beyond its bound",
            frame(WINDOW_UPDATE, 0, 0, &half_window.to_be_bytes()).repeat(2),
        ),
        ("a frame of 16 MiB", frame_of(0x00FF_FFFF, DATA, 0, 1, &[0; 100])),
        ("headers of garbage", frame(HEADERS, END_HEADERS, 1, &[0xFF; 40])),
        ("a header index of 0", frame(HEADERS, END_HEADERS, 1, &[0x80])),
    ]
}

/// A good call cut at several bytes: nothing of it happens.
async fn truncated(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let victim = Victim::create(bench, "bad.truncated", &[]).await?;
    let leader = bench.leader(&victim.topic, 0).await?;
    let address = bench.client_address(leader);
    let records = Batch::of(3).done().into();
    let batch = v1::ProduceBatch { topic_id: victim.topic.id.clone(), partition: 0, records };
    let request = v1::ProduceRequest { batches: vec![batch], ..v1::ProduceRequest::default() };
    let message = framed(&request.encode_to_vec());
    let whole = h2::call("/quipu.v1.Log/Produce", &message);
    let body = whole.len() - message.len();
    let cuts = [
        ("nothing", 0),
        ("one byte", 1),
        ("half the preface", 12),
        ("all but one of the preface", 23),
        ("the preface", 24),
        ("half the settings", 29),
        ("the settings", 33),
        ("half the headers", 80),
        ("the headers", body - 9),
        ("the head of the data", body),
        ("half a prefix", body + 3),
        ("the prefix", body + 5),
        ("a few bytes of the message", body + 12),
        ("half the message", body + message.len() / 2),
        ("all but one byte", whole.len() - 1),
    ];
    for (what, length) in cuts {
        let name = format!("hung up after {what}");
        catalogue.judge(name, ends(address, &whole[..length]).await);
    }
    catalogue.note("the end", victim.is_still().await);
    Ok(())
}

async fn ends(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    h2::is_abandoned(address, bytes).await
}
