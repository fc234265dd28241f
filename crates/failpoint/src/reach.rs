//! What the code calls at the places.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use fail::fail_point;

/// Set once and for all by the first arming: until then a place costs two loads.
static IS_ARMED: AtomicBool = AtomicBool::new(false);

/// From now on places look whether they are meant.
pub(crate) fn note_armed() {
    IS_ARMED.store(true, Ordering::Release);
}

/// Passes a point: goes on, or ends here when it is armed.
#[inline]
pub fn hit(point: &str) {
    // What an action gives back means nothing at a point.
    let _ = is_armed() && evaluate(point);
}

/// Passes a point in a task that may be held there (`pause`, `sleep`): the other tasks of its
/// thread go on elsewhere. Dearer than [`hit`] in a node that is armed, so for rare steps.
///
/// # Panics
/// In a task of a `LocalSet` of a runtime with several threads.
#[inline]
pub fn hold(point: &str) {
    if is_armed() {
        aside(point);
    }
}

#[cfg(feature = "failpoints")]
fn aside(point: &str) {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    let _ = match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| evaluate(point)),
        _ => evaluate(point),
    };
}

#[cfg(not(feature = "failpoints"))]
fn aside(_point: &str) {}

/// Whether a defect is planted here.
#[inline]
#[must_use]
pub fn is_planted(plant: &str) -> bool {
    is_armed() && evaluate(plant)
}

/// Whether the node is to pass for another here.
#[inline]
#[must_use]
pub fn is_bent(bend: &str) -> bool {
    is_armed() && evaluate(bend)
}

#[inline]
fn is_armed() -> bool {
    crate::IS_BUILT_IN && {
        arm_from_environment();
        IS_ARMED.load(Ordering::Acquire)
    }
}

/// Arms whoever reaches a place first: tests of a single crate have no command line.
fn arm_from_environment() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(words) = std::env::var(crate::VARIABLE) {
            crate::arm(&words).expect("the variable names places and actions");
        }
    });
}

#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "the macro is empty"))]
fn evaluate(place: &str) -> bool {
    fail_point!(place, |_| true);
    false
}
