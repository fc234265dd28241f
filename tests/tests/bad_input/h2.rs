//! HTTP/2 by hand, and what a server does with a connection that breaks its rules.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What every connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Flag of HEADERS: the block is complete.
pub(crate) const END_HEADERS: u8 = 4;

/// How long a server may take to hang up.
const WAIT: Duration = Duration::from_secs(20);
/// How long it may leave bytes unread before no more are sent.
const SAY_WAIT: Duration = Duration::from_secs(2);

/// One frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames of tests are small");
    frame_of(length, kind, flags, stream, payload)
}

/// One frame that announces whatever length.
pub(crate) fn frame_of(length: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// What a client says first.
pub(crate) fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The headers of a gRPC call, uncompressed (RFC 7541 §6.2.2).
pub(crate) fn headers(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "quipu"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short texts"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A whole connection with one call on it.
pub(crate) fn call(path: &str, body: &[u8]) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, 1, &headers(path));
    [hello(), headers, frame(DATA, 1, 1, body)].concat()
}

/// Opens a connection and says something.
pub(crate) async fn say(address: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    // A server that hangs up at the first bytes, or reads no further, is right to do so.
    let _ = tokio::time::timeout(SAY_WAIT, stream.write_all(bytes)).await;
    Ok(stream)
}

/// Reads until the server hangs up.
pub(crate) async fn is_closed(mut stream: TcpStream) -> Result<()> {
    let drained = async {
        let mut buffer = vec![0; 1 << 14];
        // An end and a reset both end the connection.
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    };
    tokio::time::timeout(WAIT, drained).await.context("the connection stayed open")
}

/// The server hangs up after what it is told.
pub(crate) async fn is_refused(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    is_closed(say(address, bytes).await?).await
}

/// The client says something and ends its side; the server ends its own.
pub(crate) async fn is_abandoned(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut stream = say(address, bytes).await?;
    let _ = stream.shutdown().await;
    is_closed(stream).await
}
