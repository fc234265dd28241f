//! Document 000, the other side: whatever was filed while this was down is evaluated when it is up.
//! `cargo run -p quipu-client --example youth_evaluation`

#![allow(clippy::print_stdout, reason = "a program for people")]

use quipu_client::Client;

#[tokio::main]
async fn main() -> quipu_client::Result<()> {
    let client = Client::builder("quipu://127.0.0.1:9192").service("youth").connect().await?;
    let cases = client.subscribe(["court.case.filed"]).group("youth-evaluation");
    let mut cases = cases.join().await?;
    while let Some(case) = cases.next().await {
        let case = case?;
        println!("evaluate {}", String::from_utf8_lossy(case.value.as_deref().unwrap_or_default()));
        case.ack().await?;
    }
    Ok(())
}
