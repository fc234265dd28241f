//! Document 002, one side: a fee changes, three times.
//! `cargo run -p quipu-client --example fee_updates`

#![allow(clippy::print_stdout, reason = "a program for people")]

use quipu_client::{Client, NewRecord, NewTopic};

#[tokio::main]
async fn main() -> quipu_client::Result<()> {
    let client = Client::builder("quipu://127.0.0.1:9192").service("fees").connect().await?;
    let _ = client.admin().create_topic(NewTopic::new("FeeUpdated")).await;
    for amount in [120, 125, 135] {
        let event = NewRecord::new("FeeUpdated", format!("{{\"amount\":{amount}}}"));
        println!("fee {amount} is event {:?}", client.publish(event).await?.offset);
    }
    Ok(())
}
