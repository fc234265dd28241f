//! gRPC with hand-made bodies: what a broken or hostile client would send.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tonic::codegen::http::{HeaderMap, Request};
use tonic::codegen::{Body as _, Service};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::refusal::{Refusal, Reply};

const WAIT: Duration = Duration::from_secs(20);

/// A message with the five bytes gRPC puts before it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("messages of tests are small");
    frame(0, length, message)
}

/// The same, with whatever flag and length.
pub(crate) fn frame(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + message.len());
    out.put_u8(flag);
    out.put_u32(length);
    out.extend_from_slice(message);
    out
}

/// Posts a body as it is and gives the first message of the answer.
pub(crate) async fn post(channel: &Channel, path: &str, body: Vec<u8>) -> Result<Reply<Bytes>> {
    post_with(channel, path, body, &[]).await
}

/// The same, with headers besides the usual ones.
pub(crate) async fn post_with(
    channel: &Channel,
    path: &str,
    body: Vec<u8>,
    headers: &[(&'static str, &str)],
) -> Result<Reply<Bytes>> {
    let mut request = Request::post(path).header("te", "trailers");
    request = request.header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = tonic::body::Body::new(axum::body::Body::from(body));
    let answer = send(channel.clone(), request.body(body)?);
    tokio::time::timeout(WAIT, answer).await.with_context(|| format!("{path}: no answer"))
}

async fn send(mut channel: Channel, request: Request<tonic::body::Body>) -> Reply<Bytes> {
    let broken = |error: tonic::transport::Error| {
        Refusal::Grpc(Code::Unavailable, format!("connection: {error:?}"))
    };
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(broken)?;
    let (head, body) = channel.call(request).await.map_err(broken)?.into_parts();
    refused(&head.headers)?;
    let mut body = pin!(body);
    let mut data = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|status| Refusal::Grpc(Code::Unavailable, status.to_string()))?;
        match frame.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    refused(&trailers)?;
    if !head.status.is_success() {
        return Err(Refusal::Grpc(Code::Unknown, format!("HTTP {}", head.status)));
    }
    first_message(data.freeze())
}

fn refused(headers: &HeaderMap) -> Result<(), Refusal> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status.into()),
        _ => Ok(()),
    }
}

fn first_message(mut data: Bytes) -> Reply<Bytes> {
    let incomplete = || Refusal::Grpc(Code::Unknown, "an answer without a message".to_owned());
    if data.len() < 5 {
        return Err(incomplete());
    }
    data.advance(1);
    let length = usize::try_from(data.get_u32()).expect("32 bits fit");
    if data.len() < length {
        return Err(incomplete());
    }
    Ok(data.slice(..length))
}
