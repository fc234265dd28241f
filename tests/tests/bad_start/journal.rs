//! Journals with bytes missing or changed: a torn tail is cut, damage before it is not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use quipu_testkit::replicas;

use crate::node::{TOPIC, cluster, gives_up, holds, is_refused, others_live, publish, recover};

const RECORDS: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_middle_is_refused_and_a_torn_tail_is_cut() -> Result<()> {
    let (mut cluster, client) = cluster(1, RECORDS).await?;
    let data = cluster.node(1).dir().join("data");
    cluster.node(1).kill()?;
    let journal = newest(&data)?;
    let used = used_bytes(&journal)?;

    for (name, at) in [("a third", used / 3), ("half", used / 2), ("two thirds", used / 3 * 2)] {
        let at = within_a_record(&journal, at)?;
        flip(&journal, at)?;
        let words = [
            &*journal.display().to_string(),
            "is damaged at byte",
            "this node is not rebuilt: cluster.bootstrap names no other node",
            "nothing was moved",
        ];
        gives_up(&mut cluster, 1, &words).await.with_context(|| format!("a bit after {name}"))?;
        flip(&journal, at)?;
    }

    // A write that a crash cut short: the last bytes are not all there.
    torn(&journal, used - 3)?;
    recover(&mut cluster).await.context("a torn tail")?;
    publish(&client, RECORDS..RECORDS + 10).await?;
    holds(&client, RECORDS + 10).await?;

    // A write that never was whole: garbage where the next frame would be.
    cluster.node(1).kill()?;
    let journal = newest(&data)?;
    let used = used_bytes(&journal)?;
    let end = used.next_multiple_of(8);
    File::options().write(true).open(&journal)?.write_all_at(&[0xA5; 100], end)?;
    recover(&mut cluster).await.context("garbage behind the tail")?;
    holds(&client, RECORDS + 10).await?;

    // Files that are no journal are nobody's business.
    cluster.node(1).kill()?;
    let folder = journal.parent().context("a folder")?;
    std::fs::write(folder.join("notes.txt"), "not a journal")?;
    std::fs::write(folder.join("00000000000000000099.journal.new"), "unfinished")?;
    recover(&mut cluster).await.context("other files in the folder")?;
    holds(&client, RECORDS + 10).await
}

/// The tail of a follower is torn off further than it should be: by a disk that lied about a
/// flush. The others have what it lost, and go on whatever it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lost_its_tail_harms_nobody() -> Result<()> {
    let (mut cluster, client) = cluster(3, 100).await?;
    replicas::are_identical(&cluster, TOPIC, 1).await?;
    let topic = client.admin().describe_topic(TOPIC).await?;
    let leader = topic.partitions.first().and_then(|partition| partition.leader);
    let controller = client.admin().describe_cluster().await?.controller;
    let follower = (1..=3).find(|id| Some(*id) != leader && Some(*id) != controller);
    let follower = follower.context("one of three leads nothing that matters here")?;
    let data = cluster.node(follower).dir().join("data");
    cluster.node(follower).kill()?;
    let journal = newest(&data)?;
    torn(&journal, used_bytes(&journal)?.saturating_sub(4096))?;
    cluster.node(follower).start()?;
    publish(&client, 100..120).await.context("the others go on")?;
    let healthy = cluster.wait_healthy().await;
    others_live(&mut cluster, follower)?;
    healthy.context("a follower without its tail")?;
    replicas::are_identical(&cluster, TOPIC, 1).await?;
    holds(&client, 120).await
}

/// Whoever starts without its journal has forgotten its votes and its acknowledgements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_gone_is_refused() -> Result<()> {
    let (mut cluster, client) = cluster(1, RECORDS).await?;
    let data = cluster.node(1).dir().join("data");
    cluster.node(1).kill()?;
    let folder = data.join("journal");
    let aside = data.with_file_name("journal-aside");
    std::fs::rename(&folder, &aside)?;
    is_refused(1, &data, "").await.context("no journal folder")?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder)?;
    is_refused(1, &data, "").await.context("an empty journal folder")?;
    std::fs::remove_dir_all(&folder)?;
    std::fs::rename(&aside, &folder)?;
    recover(&mut cluster).await.context("with its journal again")?;
    holds(&client, RECORDS).await
}

/// The journal file that was being written: the newest that has anything in it.
fn newest(data: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    collect(&data.join("journal"), &mut files)?;
    files.sort();
    let written = files.into_iter().rev().find(|file| used_bytes(file).is_ok_and(|used| used > 0));
    written.context("no journal file with frames")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "journal") {
            files.push(path);
        }
    }
    Ok(())
}

/// Bytes up to the last that is not zero: files are filled with zeros ahead of their use.
fn used_bytes(file: &Path) -> Result<u64> {
    let bytes = std::fs::read(file)?;
    let last = bytes.iter().rposition(|byte| *byte != 0);
    Ok(last.map_or(0, |at| u64::try_from(at + 1).unwrap_or(u64::MAX)))
}

/// The next byte that belongs to a record: between frames there is padding nobody reads.
fn within_a_record(file: &Path, at: u64) -> Result<u64> {
    let bytes = std::fs::read(file)?;
    let at = usize::try_from(at)?;
    let found = bytes[at..].windows(8).position(|window| window == b"xxxxxxxx");
    Ok(u64::try_from(at + found.context("no record behind it")?)?)
}

fn flip(file: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at)?;
    Ok(())
}

/// Zeros from a byte on, as a write leaves them that did not come so far.
fn torn(file: &Path, from: u64) -> Result<()> {
    let used = used_bytes(file)?;
    ensure!(from < used, "nothing to tear off at {from} of {used}");
    let zeros = vec![0; usize::try_from(used - from)?];
    File::options().write(true).open(file)?.write_all_at(&zeros, from)?;
    Ok(())
}
