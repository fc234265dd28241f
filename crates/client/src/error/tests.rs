use std::collections::HashMap;

use quipu_proto::v1;
use quipu_types::NodeId;

use super::*;

fn proto(code: &str, effect: v1::Effect, retry: Option<v1::Retry>) -> v1::Error {
    v1::Error {
        code: code.to_owned(),
        name: "SOME_NAME".to_owned(),
        message: "topic \"fees\" not found".to_owned(),
        effect: effect.into(),
        retry,
        fields: HashMap::from([("limit".to_owned(), "7".to_owned())]),
    }
}

#[test]
fn the_wire_form_keeps_code_effect_retry_and_fields() {
    let after = Some(v1::Retry { after_ms: Some(250), node_id: None });
    let at = Some(v1::Retry { after_ms: Some(0), node_id: Some(3) });
    let cases = [
        (proto("QP1203", v1::Effect::None, None), Effect::None, Retry::Never),
        (
            proto("QP2003", v1::Effect::Unknown, after),
            Effect::Unknown,
            Retry::After(Duration::from_millis(250)),
        ),
        (proto("QP2001", v1::Effect::None, at), Effect::None, Retry::At(NodeId::new(3))),
        (
            proto("QP9001", v1::Effect::Unspecified, Some(v1::Retry::default())),
            Effect::Unknown,
            Retry::Never,
        ),
    ];
    for (wire, effect, retry) in cases {
        let number = wire.code[2..].parse().expect("a number");
        let error = Error::from_proto(wire, "n1:9192");
        assert_eq!(error.code(), ErrorCode::from_number(number));
        assert_eq!((error.effect(), error.retry()), (effect, retry));
        let Error::Server(server) = error else { panic!("{error:?}") };
        assert_eq!(server.number("limit"), Some(7));
    }
}

#[test]
fn codes_of_a_newer_server_stay_readable() {
    let error = Error::from_proto(proto("QP8888", v1::Effect::None, None), "n1:9192");
    assert_eq!(error.code(), None);
    assert_eq!(error.to_string(), "QP8888 topic \"fees\" not found (said by n1:9192)");
}

#[test]
fn a_status_with_details_is_the_servers_refusal() {
    let details = prost::Message::encode_to_vec(&proto("QP3005", v1::Effect::None, None));
    let status = tonic::Status::with_details(tonic::Code::Unavailable, "stopping", details.into());
    let error = Error::from_status(&status, "call", "n1:9192");
    assert_eq!(error.code(), Some(ErrorCode::Stopping));
    assert_eq!(error.effect(), Effect::None);
}

#[test]
fn a_bare_status_has_unknown_effect_once_a_request_left() {
    let status = tonic::Status::unavailable("connection reset");
    let error = Error::from_status(&status, "produce to", "n1:9192");
    assert_eq!((error.code(), error.effect()), (None, Effect::Unknown));
    assert!(error.is_unavailable());
    assert!(error.to_string().contains("produce to n1:9192: "), "{error}");
    assert!(error.to_string().contains("connection reset"), "{error}");

    let refused = Error::unreachable("n1:9192", &std::io::Error::other("connection refused"));
    assert_eq!(refused.effect(), Effect::None);
}

#[test]
fn a_timeout_says_what_was_awaited_how_often_and_the_last_cause() {
    let error = Error::timeout(TimeoutError {
        action: "deliver to fees/3".to_owned(),
        waited: Duration::from_secs(120),
        attempts: 7,
        effect: Effect::Unknown,
        last: Some(Error::from_proto(proto("QP2002", v1::Effect::None, None), "n2:9192")),
    });
    assert_eq!(
        error.to_string(),
        "deliver to fees/3: timed out after 120.0 s and 7 attempt(s); last cause: \
         QP2002 topic \"fees\" not found (said by n2:9192) (effect: unknown)"
    );
    assert_eq!(error.code(), Some(ErrorCode::LeaderUnknown));
    assert!(std::error::Error::source(&error).is_some_and(|source| source.source().is_none()));
}

#[test]
fn connect_errors_list_every_address_and_why() {
    let refused = |address: &str| {
        (address.to_owned(), Error::unreachable(address, &std::io::Error::other("refused")))
    };
    let error =
        Error::Connect(Arc::new(ConnectError { attempts: vec![refused("a:1"), refused("b:2")] }));
    let text = error.to_string();
    assert!(text.contains("a:1 (connect to a:1: refused)"), "{text}");
    assert!(text.contains("b:2 (connect to b:2: refused)"), "{text}");
}

#[test]
fn out_of_range_says_on_which_side() {
    let error = OffsetOutOfRange {
        topic: "fees".into(),
        partition: 0,
        offset: 3,
        log_start: 10,
        high_watermark: 20,
    };
    assert!(error.is_below_start());
    assert!(error.to_string().contains("7 event(s) were removed"), "{error}");
    assert_eq!(error.skipped(10), [(SkipReason::Removed, 7), (SkipReason::Reset, 0)]);
    assert_eq!(error.skipped(20), [(SkipReason::Removed, 7), (SkipReason::Reset, 10)]);
    let above = OffsetOutOfRange { offset: 21, ..error };
    assert_eq!(above.skipped(20), [(SkipReason::Removed, 0), (SkipReason::Reset, 0)]);
    assert!(!above.is_below_start());
    assert!(above.to_string().contains("above the end 20"), "{above}");
}
