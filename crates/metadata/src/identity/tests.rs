use quipu_disk::{Faults, FaultyDisk, OpenMode};
use quipu_types::ReplicaId;

use super::*;

const DIR: &str = "/data";

fn disk() -> FaultyDisk {
    FaultyDisk::new(7, Faults::default())
}

fn open_as(disk: &FaultyDisk, node: u64) -> Result<Identity, IdentityError> {
    Identity::open(Arc::new(disk.clone()), Path::new(DIR), NodeId::new(node), None)
}

/// Makes a member of the node in the directory, as it is after its first start.
fn adopt(disk: &FaultyDisk, identity: &Identity, founders: Vec<Founder>) {
    let journal = Path::new(DIR).join(JOURNAL);
    disk.create_dir_all(&journal).unwrap();
    write_atomic(disk, &journal.join("1.journal"), b"votes").unwrap();
    identity.adopt_cluster(cluster(9), founders).unwrap();
}

#[test]
fn a_member_without_its_journal_is_refused() {
    let disk = disk();
    adopt(&disk, &open_as(&disk, 1).unwrap(), vec![]);
    disk.remove_file(&Path::new(DIR).join(JOURNAL).join("1.journal")).unwrap();
    let before = content(&disk);
    let refused = open_as(&disk, 1).unwrap_err().to_string();
    assert_eq!(
        refused,
        "data directory /data belongs to a member of a cluster, but its journal/ is empty: mount \
         or restore the journal of this very directory; if it is lost for good, use `quipu node \
         replace` on a running node"
    );
    assert_eq!(content(&disk), before, "the start is not counted");
}

fn cluster(id: u8) -> ClusterId {
    ClusterId::from_bytes([id; 16])
}

fn version_path() -> PathBuf {
    Path::new(DIR).join(VERSION_FILE)
}

fn content(disk: &FaultyDisk) -> String {
    let file = disk.open(&version_path(), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn overwrite(disk: &FaultyDisk, text: &str) {
    write_atomic(disk, &version_path(), text.as_bytes()).unwrap();
}

#[test]
fn a_last_incarnation_is_damage() {
    let disk = disk();
    drop(open_as(&disk, 1).unwrap());
    let written = content(&disk);
    let (body, _) = written.rsplit_once("crc32c").unwrap();
    let last = format!("\"incarnation\": {},", u64::MAX);
    let body = body.replace("\"incarnation\": 1,", &last);
    overwrite(&disk, &format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes())));
    let refused = open_as(&disk, 1).unwrap_err().to_string();
    assert!(refused.contains("no start can follow"), "{refused}");
}

#[test]
fn every_start_is_counted_and_the_directory_stays_the_same() {
    let disk = disk();
    let first = open_as(&disk, 1).unwrap();
    let directory = first.directory();
    assert_eq!(first.incarnation(), Incarnation::new(1));
    assert!(!first.is_member());
    drop(first);
    let second = open_as(&disk, 1).unwrap();
    assert_eq!((second.incarnation(), second.directory()), (Incarnation::new(2), directory));
    let starts = second.peer_identity().starts;
    assert_eq!(starts.ids().len(), 2, "no start is known to be registered");
    second.note_registered().unwrap();
    let noted = second.peer_identity().starts;
    assert_eq!((noted.ids(), noted.since()), (&starts.ids()[1..], Incarnation::new(2)));
}

#[test]
fn a_cluster_is_adopted_once_and_remembered() {
    let disk = disk();
    let identity = open_as(&disk, 1).unwrap();
    let founder = |node| Founder { node: NodeId::new(node), directory: identity.directory() };
    adopt(&disk, &identity, vec![founder(2), founder(1)]);
    identity.adopt_cluster(cluster(9), vec![]).unwrap();
    let refused = identity.adopt_cluster(cluster(8), vec![]).unwrap_err();
    assert!(matches!(refused, IdentityError::OtherCluster { .. }));
    let founders = identity.founders();
    drop(identity);
    let again = open_as(&disk, 1).unwrap();
    assert_eq!((again.cluster(), again.founders()), (cluster(9), founders.clone()));
    assert_eq!(founders[0].node, NodeId::new(1), "in order of id");
}

/// Every refusal, word for word: operators act on these sentences.
#[test]
fn a_directory_that_is_not_the_nodes_is_refused_with_what_to_do() {
    let ours = disk();
    adopt(&ours, &open_as(&ours, 1).unwrap(), vec![]);
    let text = content(&ours);
    let sealed = |body: &str| format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()));
    let body = text.rsplit_once("crc32c").unwrap().0;

    let refused = open_as(&ours, 2).unwrap_err().to_string();
    assert_eq!(
        refused,
        "data directory /data belongs to node 1, this is node 2: correct node.id or node.data-dir"
    );

    let other = Some(cluster(8));
    let disk: Arc<dyn Disk> = Arc::new(ours.clone());
    let refused = Identity::open(disk, Path::new(DIR), NodeId::new(1), other).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "data directory /data belongs to cluster 09090909-0909-0909-0909-090909090909, not to \
         08080808-0808-0808-0808-080808080808: point the node at its own cluster, or give it an \
         empty directory"
    );

    let held = open_as(&ours, 1).unwrap();
    let refused = open_as(&ours, 1).unwrap_err().to_string();
    assert_eq!(
        refused,
        "data directory /data is in use by another process: stop that one, or give this node its \
         own"
    );
    drop(held);

    overwrite(&ours, &sealed(&body.replace("\"format\": 1", "\"format\": 2")));
    let refused = open_as(&ours, 1).unwrap_err().to_string();
    assert_eq!(
        refused,
        "/data/VERSION has format 2, this release reads 1: start the newer release again, or \
         restore a backup made before the upgrade"
    );

    for damaged in [
        text.replace("\"node\": 1", "\"node\": 2"),
        text[..text.len() / 2].to_owned(),
        String::new(),
        "\n".to_owned(),
        "crc32c 00000000\n".to_owned(),
        sealed("{}\n"),
        sealed(&body.replace("\"format\"", "\"colour\": \"red\",\n\"format\"")),
        "\u{0}".repeat(text.len()),
    ] {
        overwrite(&ours, &damaged);
        let refused = open_as(&ours, 1).unwrap_err();
        assert!(matches!(refused, IdentityError::Damaged { .. }), "{damaged:?}: {refused}");
        assert!(refused.to_string().contains("do not delete it"), "{refused}");
    }

    ours.remove_file(&version_path()).unwrap();
    ours.create_dir_all(&Path::new(DIR).join("journal/shared")).unwrap();
    let refused = open_as(&ours, 1).unwrap_err().to_string();
    assert_eq!(
        refused,
        "data directory /data has journal/ but no VERSION file: restore the file, or move the \
         data away to start with an empty directory"
    );

    for node in [0, 1 << 32, u64::MAX] {
        let refused = open_as(&disk_without_anything(), node).unwrap_err().to_string();
        assert_eq!(refused, format!("node id {node} is out of bounds: use 1 to 4294967295"));
    }
}

fn disk_without_anything() -> FaultyDisk {
    disk()
}

#[test]
fn a_refused_start_is_not_counted() {
    let disk = disk();
    open_as(&disk, 1).unwrap();
    let before = content(&disk);
    open_as(&disk, 2).unwrap_err();
    assert_eq!(content(&disk), before);
}

/// An incarnation that was told to others must not come back after a power cut.
#[test]
fn an_incarnation_is_durable_before_it_is_used() {
    for seed in 0..200 {
        let mut disk = FaultyDisk::new(seed, Faults::default());
        let mut used = Incarnation::new(0);
        for start in 0..6 {
            disk.set_faults(Faults {
                power_cut_at: Some(1 + (seed + start) % 9),
                ..Faults::default()
            });
            match open_as(&disk, 1) {
                Ok(identity) => {
                    assert!(identity.incarnation() > used, "seed {seed}: {used} came back");
                    used = identity.incarnation();
                }
                Err(IdentityError::Io { .. }) => {}
                Err(other) => panic!("seed {seed}: {other}"),
            }
            disk = disk.power_cut();
        }
    }
}

#[test]
fn a_level_is_noted_and_a_release_without_it_refuses_the_directory() {
    let disk = disk();
    let identity = open_as(&disk, 1).unwrap();
    assert_eq!(identity.level(), FormatLevel::FIRST);
    identity.note_level(FormatLevel::new(9)).unwrap();
    identity.note_level(FormatLevel::new(4)).unwrap();
    assert_eq!(identity.level(), FormatLevel::new(9), "it never falls");
    drop(identity);
    let before = content(&disk);
    let refused = open_as(&disk, 1).unwrap_err().to_string();
    assert_eq!(
        refused,
        "/data/VERSION says that the cluster is finalized at format level 9, this release reads \
         and writes level 1: start the node with a release that has level 9, as the other nodes run"
    );
    assert_eq!(content(&disk), before, "the start is not counted");
}

#[test]
fn a_look_changes_nothing_and_is_refused_as_a_start_would_be() {
    let disk = disk();
    let look = || inspect(&disk, Path::new(DIR));
    assert!(matches!(look(), Err(IdentityError::Nothing { .. })));
    let identity = open_as(&disk, 3).unwrap();
    adopt(&disk, &identity, vec![]);
    let before = content(&disk);
    let report = look().unwrap();
    assert_eq!((report.node, report.cluster), (NodeId::new(3), cluster(9)));
    assert_eq!((report.directory, report.incarnation), (identity.directory(), Incarnation::new(1)));
    assert_eq!(content(&disk), before, "no start is counted, and no lock asked for");
    disk.remove_file(&Path::new(DIR).join(JOURNAL).join("1.journal")).unwrap();
    assert!(matches!(look(), Err(IdentityError::NoJournal { .. })));
    overwrite(&disk, "crc32c 00000000\n");
    assert!(matches!(look(), Err(IdentityError::Damaged { .. })));
    disk.remove_file(&version_path()).unwrap();
    disk.create_dir_all(&Path::new(DIR).join("partitions/a-0")).unwrap();
    assert!(matches!(look(), Err(IdentityError::NoVersion { .. })));
}

/// The bytes on disk, spelled out in `docs/formats/identity.md`: a change is a new format.
#[test]
fn the_file_is_the_documented_one() {
    let start = StartId::from_bytes([0xa6; 16]);
    let mut file = VersionFile::new(NodeId::new(2), DirectoryId::from_bytes([0xd2; 16]), start);
    file.starts.note_registered(Incarnation::new(6));
    file.starts.push(StartId::from_bytes([0xa7; 16]));
    file.cluster = cluster(0xc1);
    file.incarnation = Incarnation::new(7);
    let founder = |node: u8| Founder {
        node: NodeId::new(u64::from(node)),
        directory: DirectoryId::from_bytes([0xd0 + node; 16]),
    };
    file.founders = vec![founder(1), founder(2), founder(3)];
    let page = include_str!("../../../../docs/formats/identity.md");
    let example = page.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(String::from_utf8(file.encode()).unwrap(), example);
    assert_eq!(VersionFile::decode(&version_path(), example.as_bytes()).unwrap(), file);
}

/// The fields of a rebuild are there only once one has begun: as `docs/formats/identity.md` says.
#[test]
fn a_rebuild_is_written_as_documented() {
    let disk = disk();
    let identity = open_as(&disk, 2).unwrap();
    adopt(&disk, &identity, vec![]);
    assert!(!content(&disk).contains("\"rebuild\"") && !content(&disk).contains("\"replica\""));
    identity.note_asking().unwrap();
    assert_eq!(inspect(&disk, Path::new(DIR)).unwrap().rebuild, Some(Rebuild::Asking));
    assert!(content(&disk).contains("\n  \"rebuild\": \"asking\"\n"), "{}", content(&disk));
    identity.note_granted(ReplicaId::new(1 << 32), "aside".to_owned(), "why").unwrap();
    let fields = concat!(
        "\n  \"replica\": 4294967296,\n  \"rebuild\": {\n    \"moving\": {\n",
        "      \"folder\": \"aside\"\n    }\n  }\n}\n",
    );
    assert!(content(&disk).contains(fields), "{}", content(&disk));
    identity.end_rebuild().unwrap();
    assert!(content(&disk).contains("\n  \"replica\": 4294967296\n}\n"), "{}", content(&disk));
    drop(identity);
    let again = open_as(&disk, 2).unwrap();
    assert_eq!((again.replica(), again.rebuild()), (ReplicaId::new(1 << 32), None));
}
