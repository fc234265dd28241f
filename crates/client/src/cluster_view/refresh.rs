//! Asks servers for newer knowledge.

use std::sync::{Arc, Weak};
use std::time::Duration;

use quipu_proto::v1;
use quipu_types::ErrorCode;

use super::Topic;
use crate::call::{Call, Target};
use crate::client::{Shared, cluster_service};
use crate::{Error, backoff};

/// Refreshes do not follow each other closer than this, however many ask.
const GAP: Duration = Duration::from_millis(50);

/// Renews the view when somebody wants it, and every `interval`. Ends with the client.
pub(crate) async fn keep_fresh(client: Weak<Shared>, interval: Duration) {
    let mut failures = 0;
    loop {
        let Some(wanted) = client.upgrade().map(|client| client.view.wanted.clone()) else {
            return;
        };
        // Elapsed or wanted: both ask for the same.
        let _ = tokio::time::timeout(interval, wanted.notified()).await;
        let Some(client) = client.upgrade() else { return };
        match refresh(&client).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, failures, "refresh metadata");
                client.view.wanted.notify_one();
            }
        }
        client.view.changed.send_modify(|count| *count += 1);
        drop(client);
        tokio::time::sleep(backoff::pause(failures, GAP)).await;
    }
}

/// Asks one server about all known topics.
async fn refresh(client: &Shared) -> Result<(), Error> {
    let names: Vec<String> =
        client.view.load().topics.keys().map(|name| name.to_string()).collect();
    let address = client.view.addresses().into_iter().next().unwrap_or_default();
    let (answer, from) = ask(client, names, Target::Address(address)).await?;
    client.view.merge(&answer, &from)
}

/// Finds a topic that is not known yet. A topic that was created a moment ago may be unknown to
/// the first server asked, so that all are asked before the answer is no.
///
/// # Errors
/// `UNKNOWN_TOPIC`, or that no server answered.
pub(crate) async fn lookup(client: &Shared, name: &str) -> Result<Arc<Topic>, Error> {
    let mut refused = None;
    for address in client.view.addresses() {
        let names = vec![name.to_owned()];
        match ask(client, names, Target::Address(address)).await {
            Ok((answer, from)) => {
                client.view.merge(&answer, &from)?;
                if let Some(topic) = client.view.topic(name) {
                    return Ok(topic);
                }
                let error = answer.topics.into_iter().find_map(|topic| topic.error);
                refused = error.map(|error| Error::from_proto(error, &from)).or(refused);
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| {
        Error::local(ErrorCode::UnknownTopic, format!("topic {name:?} not found"))
    }))
}

async fn ask(
    client: &Shared,
    names: Vec<String>,
    target: Target,
) -> Result<(v1::MetadataResponse, String), Error> {
    let request = v1::MetadataRequest { names, ..Default::default() };
    let call = Call { action: "ask for metadata".to_owned(), target, is_repeatable: true };
    client
        .once(&call, request, |channel, request| async move {
            cluster_service(channel).metadata(request).await
        })
        .await
}
