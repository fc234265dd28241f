//! A stream between a client and a broker: in order, slow at times, over when the process is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quipu_runtime::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::commands::one_in;
use crate::l1::life::Life;
use crate::l1::pace::Pace;

/// Messages of one direction under way.
const UNDER_WAY: usize = 256;
/// A message takes so long at most.
const DELAY_US: u64 = 4_000;
/// One in so many takes much longer, as if the way was cut: and all behind it.
const STALL_ONE_IN: u64 = 400;
const STALL_MS: u64 = 7_000;

/// How long messages take. Clones share the chance.
#[derive(Clone)]
pub(super) struct Road {
    rng: Arc<Mutex<Rng>>,
}

impl Road {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng: Arc::new(Mutex::new(rng)) }
    }

    pub(super) fn delay(&self) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let stall = if one_in(&mut rng, STALL_ONE_IN) { rng.below(STALL_MS) } else { 0 };
        Duration::from_micros(rng.below(DELAY_US)) + Duration::from_millis(stall)
    }
}

/// The sending half of one direction.
pub(super) struct Sender<T> {
    road: Road,
    last: Instant,
    sender: mpsc::Sender<(Instant, T)>,
}

/// The receiving half of one direction.
pub(super) struct Receiver<T> {
    life: Life,
    pace: Pace,
    receiver: mpsc::Receiver<(Instant, T)>,
    /// Came, but is still on its way.
    next: Option<(Instant, T)>,
}

/// One direction of a stream to a process.
pub(super) fn direction<T>(road: &Road, life: &Life, pace: &Pace) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let sender = Sender { road: road.clone(), last: Instant::now(), sender };
    let receiver = Receiver { life: life.clone(), pace: pace.clone(), receiver, next: None };
    (sender, receiver)
}

impl<T> Sender<T> {
    /// Sends; false when nobody takes it any more.
    pub(super) fn send(&mut self, message: T) -> bool {
        self.last = self.last.max(Instant::now() + self.road.delay());
        self.sender.try_send((self.last, message)).is_ok()
    }

    /// Waits until nobody receives any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

impl<T> Receiver<T> {
    /// The next message; none when the stream is over. Dropping the future loses nothing.
    pub(super) async fn recv(&mut self) -> Option<T> {
        let life = self.life.clone();
        let arriving = async {
            if self.next.is_none() {
                self.next = Some(self.receiver.recv().await?);
            }
            let (at, _) = self.next.as_ref()?;
            tokio::time::sleep_until(*at).await;
            self.pace.moving().await;
            self.next.take().map(|(_, message)| message)
        };
        tokio::select! {
            biased;
            () = life.over() => None,
            message = arriving => message,
        }
    }
}
