//! Family: positions that cannot be stored.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_types::ErrorCode::{
    GroupNotEmpty, InvalidCommit, InvalidGroup, Malformed, RequestTooLarge, StaleMemberEpoch,
    UnknownGroup, UnknownMember, UnknownPartition, UnknownTopicId,
};

use crate::bench::{Bench, PARTITIONS};
use crate::call::{self, committing};
use crate::catalogue::{Catalogue, Want};
use crate::refusal::{Refusal, Reply};
use crate::seat::{Seat, joining};

const GROUP: &str = "bad.commits";
const ALONE: &str = "bad.commits.alone";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("commit");
    let mut one = seated(bench, "one").await?;
    let owned = one.owns(PARTITIONS).await;
    owned.map_err(|refusal| anyhow!("wait for all partitions: {refusal}"))?;
    of_members(bench, catalogue, one.epoch).await;
    for (what, offsets, want) in positions(bench) {
        let commit = committing(GROUP, Some(("one", one.epoch)), offsets);
        catalogue.case(format!("{what}, by a member"), want, &call::commit(bench, commit).await);
    }
    catalogue.note("nothing of it is stored", stores(bench, GROUP, &[]).await);
    of_two(bench, catalogue, &mut one).await?;
    outside(bench, catalogue).await;
    Ok(())
}

async fn seated(bench: &Bench, member: &str) -> Result<Seat> {
    let joined = call::join(bench, joining(GROUP, member)).await;
    joined.map_err(|refusal: Refusal| anyhow!("join as {member}: {refusal}"))
}

async fn stores(bench: &Bench, group: &str, offsets: &[(u32, u64)]) -> Result<()> {
    let stored = call::fetch(bench, group, Vec::new()).await;
    let stored = stored.map_err(|refusal| anyhow!("fetch: {refusal}"))?.offsets;
    let stored: Vec<_> = stored.iter().map(|at| (at.partition, at.offset)).collect();
    ensure!(stored == offsets, "stored {stored:?}, not {offsets:?}");
    Ok(())
}

/// Who commits, and in which epoch: the group has one member with all partitions.
async fn of_members(bench: &Bench, catalogue: &mut Catalogue, epoch: u64) {
    let fine = || vec![bench.position(0, 1)];
    let by = |member: &str, epoch: u64| committing(GROUP, Some((member, epoch)), fine());
    let future = |given: u64| format!("member one names epoch {given}, the group is at {epoch}");
    let unowned = |partition: &str, epoch: u64| {
        format!("-{partition} is not member one's in epoch {epoch}: somebody else may have")
    };
    let own = |offset: v1::CommitOffset| committing(GROUP, Some(("one", epoch)), vec![offset]);
    let gone = v1::CommitOffset { topic_id: nowhere(), ..bench.position(0, 1) };
    let none = "bad.commits.none";
    let no_group = format!("there is no consumer group \"{none}\"");
    let no_members = "has 1 members: stop them first, or fence them";
    let long = "m".repeat(65);
    let cases: Vec<(&str, v1::CommitOffsetsRequest, Want)> = vec![
        (
            "an unknown group",
            committing(none, Some(("one", 1)), fine()),
            (UnknownGroup, no_group).into(),
        ),
        (
            "a ghost",
            by("ghost", 1),
            (UnknownMember, "does not know member ghost (any more)").into(),
        ),
        ("a bad member id", by("a/b", 1), (InvalidGroup, "member_id: it has '/' at byte 1").into()),
        ("a long member id", by(&long, 1), (InvalidGroup, "member_id: it has 65 bytes").into()),
        ("the next epoch", by("one", epoch + 1), (StaleMemberEpoch, future(epoch + 1)).into()),
        ("the last epoch", by("one", u64::MAX), (StaleMemberEpoch, future(u64::MAX)).into()),
        ("no epoch", by("one", 0), (StaleMemberEpoch, unowned("0", 0)).into()),
        (
            "an index beyond, by a member",
            own(bench.position(4, 1)),
            (StaleMemberEpoch, unowned("4", epoch)).into(),
        ),
        (
            "an unknown topic, by a member",
            own(gone),
            (StaleMemberEpoch, unowned("0", epoch)).into(),
        ),
        (
            "nobody while there is a member",
            committing(GROUP, None, fine()),
            (GroupNotEmpty, no_members).into(),
        ),
    ];
    for (what, commit, want) in cases {
        catalogue.case(what, want, &call::commit(bench, commit).await);
    }
}

/// Positions that nobody may store, whoever commits.
fn positions(bench: &Bench) -> Vec<(String, Vec<v1::CommitOffset>, Want)> {
    let mut cases: Vec<(String, Vec<v1::CommitOffset>, Want)> = Vec::new();
    for offset in [1 << 63, u64::MAX] {
        let words = format!("offset {offset} is above 9223372036854775807");
        let offsets = vec![bench.position(0, offset)];
        cases.push((format!("offset {offset}"), offsets, (InvalidCommit, words).into()));
    }
    let words = "metadata has 4097 bytes; at most 4096 are allowed";
    let long = |metadata: String| vec![v1::CommitOffset { metadata, ..bench.position(0, 1) }];
    for (what, metadata) in [("a", "a".repeat(4097)), ("ü", format!("{}a", "ü".repeat(2048)))] {
        let name = format!("4097 bytes of {what:?}");
        cases.push((name, long(metadata), (InvalidCommit, words).into()));
    }
    let twice = vec![bench.position(1, 1), bench.position(0, 1), bench.position(1, 2)];
    let want = Want::from((InvalidCommit, "-1: it is named twice"));
    cases.push(("a partition named twice".to_owned(), twice, want));
    for length in [0, 15, 17] {
        let topic_id = Bytes::from(vec![7; length]);
        let bad = v1::CommitOffset { topic_id, ..bench.position(0, 1) };
        let words = format!("offsets[1].topic_id: a topic id has 16 bytes, {length} came");
        let name = format!("a topic id of {length} bytes");
        cases.push((name, vec![bench.position(0, 1), bad], (Malformed, words).into()));
    }
    let many = (0..10_001).map(|partition| bench.position(partition, 1)).collect();
    let words = "offsets: 10001 is above the limit of 10000";
    cases.push(("10001 positions".to_owned(), many, (RequestTooLarge, words).into()));
    cases
}

/// A topic nobody created.
fn nowhere() -> Bytes {
    Bytes::from_static(&[7; 16])
}

/// Two members: what one reads the other does not commit; who left commits nothing.
async fn of_two(bench: &Bench, catalogue: &mut Catalogue, one: &mut Seat) -> Result<()> {
    // The first one lets nothing go: the second owns nothing yet.
    let mut two = seated(bench, "two").await?;
    let theirs = committing(GROUP, Some(("two", two.epoch)), vec![bench.position(0, 7)]);
    let words = format!("-0 is not member two's in epoch {}", two.epoch);
    let reply = call::commit(bench, theirs.clone()).await;
    catalogue.case("a partition of another member", (StaleMemberEpoch, words), &reply);
    let mixed = vec![bench.position(2, 8), bench.position(9, 8), bench.position(3, 8)];
    let mixed = committing(GROUP, Some(("one", one.epoch)), mixed);
    let results = call::commit_each(bench, mixed).await;
    let results = results.map_err(|refusal| anyhow!("an own one and another: {refusal}"))?;
    let [second, ninth, third] = <[Reply<v1::CommitResult>; 3]>::try_from(results)
        .map_err(|found| anyhow!("{} results for three positions", found.len()))?;
    catalogue.case("the own one beside another", Want::Accepted, &second);
    let want = (StaleMemberEpoch, "-9 is not member one's in epoch");
    catalogue.case("the other one beside an own", want, &ninth);
    catalogue.case("the own one behind another", Want::Accepted, &third);
    catalogue.note("only the own ones are stored", stores(bench, GROUP, &[(2, 8), (3, 8)]).await);
    catalogue.case("the second leaves", Want::Accepted, &two.leave().await);
    let want = (UnknownMember, "does not know member two (any more)");
    catalogue.case("after the second left", want, &call::commit(bench, theirs).await);
    let mine = committing(GROUP, Some(("one", one.epoch)), vec![bench.position(0, 9)]);
    catalogue.case("the first leaves", Want::Accepted, &one.leave().await);
    let want = (UnknownMember, "does not know member one (any more)");
    catalogue.case("after the first left", want, &call::commit(bench, mine).await);
    let alone = committing(GROUP, None, vec![bench.position(0, 10)]);
    catalogue.case("nobody once all left", Want::Accepted, &call::commit(bench, alone).await);
    let stored = stores(bench, GROUP, &[(0, 10), (2, 8), (3, 8)]).await;
    catalogue.note("what was accepted is stored", stored);
    Ok(())
}

/// Outside of any membership: the topic must be there, too.
async fn outside(bench: &Bench, catalogue: &mut Catalogue) {
    for (what, offsets, want) in positions(bench) {
        let reply = call::commit(bench, committing(ALONE, None, offsets)).await;
        catalogue.case(format!("{what}, by nobody"), want, &reply);
    }
    let gone = v1::CommitOffset { topic_id: nowhere(), ..bench.position(0, 1) };
    let words = "no topic has id 07070707-0707-0707-0707-070707070707: it was deleted";
    let reply =
        call::commit(bench, committing(ALONE, None, vec![bench.position(0, 1), gone])).await;
    catalogue.case("an unknown topic, by nobody", (UnknownTopicId, words), &reply);
    for index in [PARTITIONS, u32::MAX] {
        let words = format!("numbered from 0; there is no partition {index}");
        let reply =
            call::commit(bench, committing(ALONE, None, vec![bench.position(index, 1)])).await;
        catalogue.case(format!("index {index}, by nobody"), (UnknownPartition, words), &reply);
    }
    let reply = call::describe(bench, ALONE).await;
    let want = (UnknownGroup, "there is no consumer group \"bad.commits.alone\"");
    catalogue.case("no refused commit began the group", want, &reply);
    let metadata = "a".repeat(4096);
    let fits = v1::CommitOffset { metadata, ..bench.position(0, 1) };
    let reply = call::commit(bench, committing(ALONE, None, vec![fits])).await;
    catalogue.case("4096 bytes of metadata", Want::Accepted, &reply);
    catalogue.note("that is stored", stores(bench, ALONE, &[(0, 1)]).await);
}
