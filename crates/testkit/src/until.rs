//! Waiting for a condition.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Polls `condition` until it gives a value, at most for `wait`. A condition that fails says why;
/// the last reason is part of the error.
///
/// # Errors
/// When the time is over: what was waited for, how long, and the last reason.
pub async fn until<T, F: Future<Output = Result<T>>>(
    what: &str,
    wait: Duration,
    mut condition: impl FnMut() -> F,
) -> Result<T> {
    let deadline = tokio::time::Instant::now() + wait;
    let mut reason = "no reason yet".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(last)) => reason = format!("{last:#}"),
            Err(_) => reason.push_str("; then the check did not return"),
        }
        if tokio::time::Instant::now() >= deadline {
            bail!("waited {wait:?} for {what}: {reason}");
        }
        tokio::time::sleep(POLL).await;
    }
}
