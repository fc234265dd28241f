//! Family: more of everything than anybody needs. Others are served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpStream;

use crate::batch::Batch;
use crate::bench::Bench;
use crate::catalogue::{Catalogue, Want};
use crate::h2::{self, DATA, END_HEADERS, HEADERS, PING, RST_STREAM, SETTINGS, frame, hello};
use crate::raw;
use crate::victim::Victim;

const SOCKETS: usize = 300;
/// How long a batch may take while a flood is on.
const SERVED_WITHIN: Duration = Duration::from_secs(15);

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("flood");
    let mut victim = Victim::create(bench, "bad.flood", &[]).await?;
    let leader = bench.leader(&victim.topic, 0).await?;
    let address = bench.client_address(leader);
    let half_call = {
        let whole = h2::call("/quipu.v1.Log/Produce", &raw::framed(&[0; 4000]));
        whole[..whole.len() - 2000].to_vec()
    };
    for (name, greeting) in [
        ("300 silent connections", Vec::new()),
        ("300 connections with half a preface", h2::PREFACE[..10].to_vec()),
        ("300 connections that say hello", hello()),
        ("300 connections with half a call", half_call),
    ] {
        let sockets = open(address, &greeting).await?;
        catalogue.judge(name, is_served(&mut victim).await);
        drop(sockets);
    }
    for (name, bytes) in torrents() {
        let stream = h2::say(address, &bytes).await?;
        catalogue.judge(name, is_served(&mut victim).await);
        drop(stream);
    }
    abandoned(bench, catalogue, &mut victim, leader).await?;
    victim.case(catalogue, "a good one afterwards", Want::Accepted, Batch::of(1).done()).await
}

async fn open(address: SocketAddr, greeting: &[u8]) -> Result<Vec<TcpStream>> {
    let mut sockets = Vec::with_capacity(SOCKETS);
    for number in 0..SOCKETS {
        let opened = tokio::time::timeout(SERVED_WITHIN, h2::say(address, greeting)).await;
        sockets.push(opened.with_context(|| format!("connection {number}"))??);
    }
    Ok(sockets)
}

/// Long runs of frames, each allowed by itself.
fn torrents() -> Vec<(&'static str, Vec<u8>)> {
    let headers = h2::headers("/quipu.v1.Log/Fetch");
    let mut reset = hello();
    let mut calls = hello();
    for stream in (1..4000).step_by(2) {
        reset.extend(frame(HEADERS, END_HEADERS, stream, &headers));
        reset.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        calls.extend(frame(HEADERS, END_HEADERS, stream, &headers));
    }
    let mut empty = hello();
    empty.extend(frame(HEADERS, END_HEADERS, 1, &headers));
    empty.extend(frame(DATA, 0, 1, &[]).repeat(20_000));
    let mut endless = hello();
    endless.extend(frame(HEADERS, 0, 1, &headers));
    endless.extend(frame(h2::CONTINUATION, 0, 1, &[0; 200]).repeat(5000));
    vec![
        ("2000 calls, each reset at once", reset),
        ("2000 calls on one connection", calls),
        ("20,000 pings", [hello(), frame(PING, 0, 0, &[7; 8]).repeat(20_000)].concat()),
        ("20,000 settings", [hello(), frame(SETTINGS, 0, 0, &[]).repeat(20_000)].concat()),
        ("20,000 empty frames of data", empty),
        ("headers without an end", endless),
    ]
}

/// Calls whose answers nobody waits for.
async fn abandoned(
    bench: &Bench,
    catalogue: &mut Catalogue,
    victim: &mut Victim<'_>,
    leader: u64,
) -> Result<()> {
    let channel = bench.channel(leader);
    for _ in 0..500 {
        let position = quipu_proto::v1::FetchPosition {
            topic_id: victim.topic.id.clone(),
            partition: 0,
            offset: victim.end,
            max_bytes: 0,
        };
        let request = quipu_proto::v1::FetchRequest {
            max_wait_ms: 30_000,
            positions: vec![position],
            ..quipu_proto::v1::FetchRequest::default()
        };
        let wait = crate::call::fetch(channel, request);
        let _ = tokio::time::timeout(Duration::from_millis(2), wait).await;
    }
    catalogue.judge("500 waiting fetches given up", is_served(victim).await);
    Ok(())
}

/// A batch is stored within bounds.
async fn is_served(victim: &mut Victim<'_>) -> Result<()> {
    let sent = tokio::time::timeout(SERVED_WITHIN, victim.send(Batch::of(1).done())).await;
    let reply = sent.context("a batch was not stored meanwhile")??;
    let result = reply.map_err(|refusal| anyhow!("{refusal}"))?;
    anyhow::ensure!(result.base_offset == Some(victim.end), "{result:?}, not {}", victim.end);
    victim.end += 1;
    Ok(())
}
