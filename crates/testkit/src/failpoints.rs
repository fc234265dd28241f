//! Arming nodes that run.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Arms failpoints of the node whose metrics are served at an address: `name=action`, or
/// `name=off`.
///
/// # Errors
/// When it does not answer, or refuses the words.
pub async fn arm(address: SocketAddr, words: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("PUT /failpoints HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{words}", words.len());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    // A node that passes its point at once need not come to its answer.
    if stream.read_to_string(&mut answer).await.is_err() || answer.is_empty() {
        return Ok(());
    }
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}
