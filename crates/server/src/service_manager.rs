//! What the service manager hears of this process, if one waits for it (sd_notify(3)).
//!
//! "Up" does not wait for other nodes: a cluster whose units are started one after the other would
//! wait for its second node for ever. Whether clients are served is for `/health/ready` to say.

use sd_notify::NotifyState;

/// The data is opened, peers and probes are answered.
pub(crate) fn up() {
    tell(&[NotifyState::Ready]);
}

/// What is being done, as `systemctl status` shows it.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The process is about to end by itself.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager is not told");
    }
}
