//! One partition does not take the room of another.

use anyhow::{Result, ensure};
use quipu_client::NewRecord;

use crate::crew::{WAIT, cluster, deliver, next, producer};

const TOPIC: &str = "ledger";
const GROUP: &str = "auditors";
const VALUE_BYTES: usize = 1 << 10;
/// Much more than the buffer takes.
const MANY: usize = 4_000;
const FEW: usize = 20;
const BUFFER_BYTES: usize = 1 << 20;
const FETCH_BYTES: usize = 64 << 10;
/// Half of the buffer and one fetch are 576 records; all of the buffer would be above 1,000.
const BEFORE_MAX: usize = 800;

/// While the application is busy a full partition fills its own half of the buffer only: what comes
/// to the other meanwhile is handed out right behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_partition_does_not_starve_another() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 2).await?;
    let bulk = client.producer().delivery_timeout(WAIT).batch_bytes(FETCH_BYTES / 4).build()?;
    deliver(&bulk, (0..MANY).map(|_| record(0))).await?;
    let consumer = client.subscribe([TOPIC]).group(GROUP);
    let consumer = consumer.buffer_bytes(BUFFER_BYTES).fetch_bytes(FETCH_BYTES);
    let mut consumer = consumer.join().await?;
    let first = next(&mut consumer).await?;
    ensure!(first.partition == 0, "the other has none yet");
    first.ack_later();
    // One after the other, each acknowledged: meanwhile the buffer fills.
    let trickle = producer(&client)?;
    for _ in 0..FEW {
        deliver(&trickle, [record(1)]).await?;
    }
    let (mut before, mut few) = (1, 0);
    while few < FEW {
        let message = next(&mut consumer).await?;
        message.ack_later();
        if message.partition == 1 {
            few += 1;
        } else {
            before += 1;
        }
    }
    ensure!(before < BEFORE_MAX, "{before} records of the full partition came before {FEW}");
    consumer.shutdown(WAIT).await?;
    Ok(())
}

fn record(partition: u32) -> NewRecord {
    NewRecord::new(TOPIC, vec![b'x'; VALUE_BYTES]).partition(partition)
}
