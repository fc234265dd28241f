//! Document 000, one side: a court publishes that a case was filed.
//! `cargo run -p quipu-client --example court_filing -- A-100`

#![allow(clippy::print_stdout, reason = "a program for people")]

use quipu_client::{Client, NewRecord, NewTopic};

#[tokio::main]
async fn main() -> quipu_client::Result<()> {
    let client = Client::builder("quipu://127.0.0.1:9192").service("court").connect().await?;
    // Created before: that is fine.
    let _ = client.admin().create_topic(NewTopic::new("court.case.filed")).await;
    for case in std::env::args().skip(1) {
        let record = NewRecord::new("court.case.filed", case.clone()).key(case);
        let receipt = client.publish(record).await?;
        println!("filed as {}/{}@{:?}", receipt.topic, receipt.partition, receipt.offset);
    }
    Ok(())
}
