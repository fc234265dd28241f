//! Errors as the history knows them: a code, and whether it may have happened.

use quipu_client::Error;
use quipu_proto::v1;

use crate::history::{Effect, Failure};

/// An error of the client.
pub(super) fn of_client(error: &Error) -> Failure {
    let code = error.code().map_or("UNREACHABLE", |code| code.name());
    let effect = match error.effect() {
        quipu_client::Effect::None => Effect::None,
        quipu_client::Effect::Unknown => Effect::Maybe,
    };
    match error {
        Error::OffsetOutOfRange(bounds) => Failure {
            log_start: Some(bounds.log_start),
            high_watermark: Some(bounds.high_watermark),
            ..Failure::new(code, effect)
        },
        _ => Failure::new(code, effect),
    }
}

/// An error on the wire. A server that does not say gets the careful reading.
pub(super) fn of_wire(error: &v1::Error) -> Failure {
    let effect = match error.effect() {
        v1::Effect::None => Effect::None,
        v1::Effect::Unknown | v1::Effect::Unspecified => Effect::Maybe,
    };
    let number = |name: &str| error.fields.get(name).and_then(|text| text.parse().ok());
    Failure {
        log_start: number("log_start"),
        high_watermark: number("high_watermark"),
        ..Failure::new(&error.name, effect)
    }
}

/// No answer in time, or the connection broke.
pub(super) fn unclear(code: &str) -> Failure {
    Failure::new(code, Effect::Maybe)
}
