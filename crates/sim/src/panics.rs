//! Panics of the simulated code, as words instead of output.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// The last panic of a thread that asked to hear of it.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_LISTENING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs something; a panic becomes what it said, and where.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    listen();
    IS_LISTENING.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    IS_LISTENING.replace(false);
    // A panic that somebody caught on the way is one too.
    match (outcome, HEARD.take()) {
        (Ok(outcome), None) => Ok(outcome),
        (_, Some(words)) => Err(words),
        (Err(_), None) => Err("panicked without words".to_owned()),
    }
}

/// Puts a hook in front of the one that prints.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_LISTENING.with_borrow(|is_listening| *is_listening) {
                HEARD.replace(Some(info.to_string()));
            } else {
                print(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_words() {
        assert_eq!(caught(|| 7), Ok(7));
        let words = caught(|| assert_eq!(1 + 1, 3, "of no use")).unwrap_err();
        assert!(words.contains("of no use") && words.contains("panics.rs"), "{words}");
    }
}
