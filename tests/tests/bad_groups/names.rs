//! Family: names of groups, wherever one can be given, and ids of members.

use anyhow::Result;
use quipu_types::ErrorCode::InvalidGroup;

use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::seat::joining;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("name");
    for (what, group, words) in bad_groups() {
        everywhere(bench, catalogue, (what, group.as_str()), words).await;
    }
    for (what, group) in [
        ("255 bytes", "x".repeat(255)),
        ("blanks, a slash and umlauts", "Straße 7/räume".to_owned()),
        ("three dots", "...".to_owned()),
    ] {
        let reply = call::join(bench, joining(&group, "one")).await;
        catalogue.case(format!("join a group of {what}"), Want::Accepted, &reply);
    }
    for (what, member, words) in bad_members() {
        let reply = call::join(bench, joining("bad.names", &member)).await;
        let words = format!("member_id: {words}");
        catalogue.case(format!("join as {what}"), (InvalidGroup, words), &reply);
    }
    for member in ["m".repeat(64), "sms-1_A.9".to_owned()] {
        let reply = call::join(bench, joining("bad.names", &member)).await;
        let name = format!("join as {} allowed characters", member.len());
        catalogue.case(name, Want::Accepted, &reply);
    }
    Ok(())
}

fn bad_groups() -> Vec<(&'static str, String, &'static str)> {
    let group = |name: &str| name.to_owned();
    vec![
        ("no character", group(""), "a group needs a name"),
        ("a dot", group("."), "\".\" is not allowed as a group name"),
        ("two dots", group(".."), "\"..\" is not allowed as a group name"),
        ("256 bytes", "x".repeat(256), "the group name has 256 bytes; at most 255 are allowed"),
        ("128 umlauts", "ü".repeat(128), "the group name has 256 bytes; at most 255 are allowed"),
        ("a newline", group("a\nb"), "has the control character '\\n' at byte 1"),
        ("escape", group("sms\u{1b}[31m"), "has the control character '\\u{1b}' at byte 3"),
        ("delete", group("ü\u{7f}"), "has the control character '\\u{7f}' at byte 2"),
        ("NUL", group("\0"), "has the control character '\\0' at byte 0"),
        ("NUL inside", group("fee\0s"), "has the control character '\\0' at byte 3"),
    ]
}

fn bad_members() -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("nobody", String::new(), "it is empty; use 1 to 64 of A-Z a-z 0-9 . _ -"),
        ("65 characters", "m".repeat(65), "it has 65 bytes; at most 64 are allowed"),
        ("a blank", "a b".to_owned(), "it has ' ' at byte 1; use A-Z a-z 0-9 . _ -"),
        ("an umlaut", "gebühr".to_owned(), "it has 'ü' at byte 3; use A-Z a-z 0-9 . _ -"),
        ("a slash", "a/b".to_owned(), "it has '/' at byte 1; use A-Z a-z 0-9 . _ -"),
        ("NUL", "m\0".to_owned(), "it has '\\0' at byte 1; use A-Z a-z 0-9 . _ -"),
        ("a quote", "\"".to_owned(), "it has '\"' at byte 0; use A-Z a-z 0-9 . _ -"),
    ]
}

/// A name that no group can have is refused as such by every call.
async fn everywhere(
    bench: &Bench,
    catalogue: &mut Catalogue,
    (what, group): (&str, &str),
    words: &str,
) {
    let want = Want::from((InvalidGroup, words));
    let reply = call::join(bench, joining(group, "one")).await;
    catalogue.case(format!("join {what}"), want.clone(), &reply);
    let commit = call::committing(group, None, vec![bench.position(0, 1)]);
    let reply = call::commit(bench, commit).await;
    catalogue.case(format!("commit in {what}"), want.clone(), &reply);
    let reply = call::fetch(bench, group, Vec::new()).await;
    catalogue.case(format!("fetch of {what}"), want.clone(), &reply);
    let reply = call::describe(bench, group).await;
    catalogue.case(format!("describe {what}"), want.clone(), &reply);
    let reply = call::reset(bench, group, vec![bench.position(0, 1)], true).await;
    catalogue.case(format!("reset {what}"), want.clone(), &reply);
    let reply = call::delete(bench, group).await;
    catalogue.case(format!("delete {what}"), want, &reply);
}
