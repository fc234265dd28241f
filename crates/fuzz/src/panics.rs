//! Panics as words instead of output.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static IS_LISTENING: Cell<bool> = const { Cell::new(false) };
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs something; a panic becomes its place and what it said.
///
/// # Errors
/// The words of the panic.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(hook);
    IS_LISTENING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    IS_LISTENING.set(false);
    outcome.map_err(|_| HEARD.take().unwrap_or_else(|| "panicked without words".to_owned()))
}

/// Puts a hook in front of the one that prints.
fn hook() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if IS_LISTENING.get() {
            HEARD.replace(Some(info.to_string()));
        } else {
            print(info);
        }
    }));
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
