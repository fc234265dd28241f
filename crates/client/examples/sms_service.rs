//! Document 002, the other side: every change is texted, by one of the running services.
//! `cargo run -p quipu-client --example sms_service`

#![allow(clippy::print_stdout, reason = "a program for people")]

use quipu_client::Client;

#[tokio::main]
async fn main() -> quipu_client::Result<()> {
    let client = Client::builder("quipu://127.0.0.1:9192").service("sms").connect().await?;
    let mut fees = client.subscribe(["FeeUpdated"]).group("sms-service").join().await?;
    while let Some(fee) = fees.next().await {
        let fee = fee?;
        println!("text: {}", String::from_utf8_lossy(fee.value.as_deref().unwrap_or_default()));
        fee.ack().await?;
    }
    Ok(())
}
