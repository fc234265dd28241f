//! Family: names of topics, wherever one can be given.

use anyhow::Result;
use quipu_proto::v1;
use quipu_types::ErrorCode::{self, InvalidTopicName, TopicProtected};

use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("name");
    for (what, name, code) in bad() {
        let reply = call::create(bench.any(), dry(&name)).await?;
        catalogue.case(format!("create with {what}"), code, &reply);
    }
    for name in ["a", "-", "_", "a_", "_a", "...", ".a", "a.", "A-Z_0.9", &"x".repeat(249)] {
        let reply = call::create(bench.any(), dry(name)).await?;
        let shown: String = name.chars().take(10).collect();
        catalogue.case(format!("create with {shown:?} as a dry run"), Want::Accepted, &reply);
    }
    elsewhere(bench, catalogue).await
}

/// A request that changes nothing, so that an accepted bad name does no harm.
fn dry(name: &str) -> v1::CreateTopicRequest {
    let name = name.to_owned();
    v1::CreateTopicRequest { name, validate_only: true, ..v1::CreateTopicRequest::default() }
}

fn bad() -> Vec<(&'static str, String, ErrorCode)> {
    let invalid = [
        ("no character", ""),
        ("a dot", "."),
        ("two dots", ".."),
        ("a slash", "a/b"),
        ("a path upwards", "../../etc/passwd"),
        ("an absolute path", "/tmp/topic"),
        ("a backslash", "a\\b"),
        ("NUL alone", "\0"),
        ("NUL inside", "fee\0s"),
        ("a newline", "a\nb"),
        ("a tab", "a\tb"),
        ("escape", "a\u{1b}[31m"),
        ("delete", "a\u{7f}"),
        ("a blank", "Bad Name"),
        ("a blank before", " a"),
        ("a blank behind", "a "),
        ("a colon", "a:b"),
        ("a star", "*"),
        ("a question mark", "a?"),
        ("a quote", "a\"b"),
        ("a per cent sign", "a%2Fb"),
        ("an umlaut", "gebühr"),
        ("a Cyrillic a", "c\u{430}se"),
        ("a full-width letter", "\u{ff21}"),
        ("a zero-width space", "a\u{200b}b"),
        ("a right-to-left mark", "a\u{202e}b"),
        ("a byte-order mark", "\u{feff}a"),
        ("an emoji", "fee\u{1f4b8}"),
        ("a combining accent", "fe\u{301}"),
    ];
    let mut cases: Vec<_> =
        invalid.into_iter().map(|(what, name)| (what, name.to_owned(), InvalidTopicName)).collect();
    cases.push(("250 characters", "x".repeat(250), InvalidTopicName));
    cases.push(("a megabyte", "x".repeat(1 << 20), InvalidTopicName));
    cases.push(("250 bytes in 125 characters", "ü".repeat(125), InvalidTopicName));
    cases.push(("the internal prefix", "__offsets".to_owned(), TopicProtected));
    cases.push(("the internal prefix alone", "__".to_owned(), TopicProtected));
    cases
}

/// A name that no topic can have is refused as such wherever a topic is named.
async fn elsewhere(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let names = [
        ("no character", "", InvalidTopicName),
        ("a slash", "a/b", InvalidTopicName),
        ("NUL", "\0", InvalidTopicName),
        ("the internal prefix", "__offsets", TopicProtected),
    ];
    for (what, name, code) in names {
        let name = name.to_owned();
        let request = v1::DeleteTopicRequest { name: name.clone(), timeout_ms: 0 };
        let reply = call::bounded("delete", call::admin(bench.any()).delete_topic(request)).await?;
        catalogue.case(format!("delete with {what}"), code, &call::settle(reply));

        let request = v1::AlterTopicRequest { name: name.clone(), ..Default::default() };
        let reply = call::bounded("alter", call::admin(bench.any()).alter_topic(request)).await?;
        catalogue.case(format!("alter with {what}"), code, &call::settle(reply));

        let reply = call::describe(bench.any(), &name).await?;
        catalogue.case(format!("describe with {what}"), code, &reply);

        let reply = call::metadata_of(bench.any(), &name).await?;
        catalogue.case(format!("metadata with {what}"), code, &reply);

        let reply = call::checksum(bench.any(), &name, 0).await?;
        catalogue.case(format!("checksum with {what}"), code, &reply);

        let target = v1::DeleteRecordsTarget { topic: name, partition: 0, before_offset: None };
        let reply = call::delete_records(bench.any(), target).await?;
        catalogue.case(format!("delete records with {what}"), code, &reply);
    }
    Ok(())
}
