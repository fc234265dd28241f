//! Sizes, durations, positions and addresses as people write them.

use std::fmt;
use std::str::FromStr;

use quipu_cli::start_point;
use quipu_client::{Bootstrap, End, Start};
use quipu_metadata::Setting;
use quipu_metadata::topic_config::KEYS;
use quipu_types::ByteCount;

use crate::input::text;
use crate::{Seed, Verdict};

pub(crate) fn run(input: &[u8]) -> Verdict {
    let Some(text) = text(input) else { return Verdict::Refused };
    let mut is_accepted = read_back::<ByteCount>(text) | read_back::<Bootstrap>(text);
    is_accepted |= text.parse::<Start>().is_ok() | text.parse::<End>().is_ok();
    is_accepted |= start_point::start(text).is_ok() | start_point::end(text).is_ok();
    is_accepted |= start_point::duration(text).is_ok() | start_point::bytes(text).is_ok();
    is_accepted |= start_point::codec(text).is_ok();
    for key in KEYS {
        is_accepted |= setting(key.name, text);
    }
    let _ = Setting::parse(text, "1");
    Verdict::when(is_accepted)
}

/// What is printed is read back.
fn read_back<T: FromStr + fmt::Display + PartialEq + fmt::Debug>(text: &str) -> bool
where
    T::Err: fmt::Display + fmt::Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(value.to_string().parse::<T>().expect("it was printed"), value);
            true
        }
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            false
        }
    }
}

fn setting(key: &str, value: &str) -> bool {
    match Setting::parse(key, value) {
        Ok(setting) => {
            assert_eq!(Setting::parse(key, &setting.value()), Ok(setting));
            true
        }
        Err(refused) => {
            assert!(refused.to_string().contains(key), "{refused}");
            false
        }
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let seed = |text: &str| text.as_bytes().to_vec();
    vec![
        ("ok-size", seed("64MiB")),
        ("ok-duration", seed("1h30m")),
        ("ok-time", seed("@2026-01-01T00:00:00.000+01:00")),
        ("ok-date", seed("@2026-01-01")),
        ("ok-age", seed("@-2d")),
        ("ok-last", seed("-10")),
        ("ok-servers", seed("quipu://[::1]:7,host:9192")),
        ("ok-words", seed("log-append")),
        ("ok-unlimited", seed("unlimited")),
        ("ok-codec", seed("zstd")),
    ]
}
