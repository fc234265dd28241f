//! Whether docs/formats/groups.md says what is written.

use quipu_types::TimestampMs;

use crate::{Answer, Command, Groups, RowKey};

const PAGE: &str = include_str!("../../../../docs/formats/groups.md");

/// The examples behind a heading, one a line.
fn examples(heading: &str) -> Vec<&'static str> {
    let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut blocks = section.split("```");
    blocks.next();
    blocks.step_by(2).flat_map(|block| block.lines().skip(1)).collect()
}

fn apply(commands: &[&str]) -> (Groups, Vec<Answer>) {
    let mut groups = Groups::default();
    let mut answers = Vec::new();
    for (at, example) in (1..).zip(commands) {
        let command = Command::decode(example.as_bytes()).unwrap();
        answers.push(groups.apply(TimestampMs::new(at * 1_000), command));
    }
    (groups, answers)
}

#[test]
fn each_command_of_the_page_is_what_is_written() {
    let examples = examples("Commands");
    let mut kinds = Vec::new();
    for example in &examples {
        let command = Command::decode(example.as_bytes()).unwrap();
        assert_eq!(command.encode(), example.as_bytes(), "{example}");
        kinds.push(match command {
            Command::Update { .. } => "update",
            Command::Confirm { .. } => "confirm",
            Command::Commit { .. } => "commit",
            Command::Reset { .. } => "reset",
            Command::Delete { .. } => "delete",
            Command::Sweep { .. } => "sweep",
        });
    }
    kinds.dedup();
    assert_eq!(kinds, ["update", "confirm", "commit", "reset", "delete", "sweep"]);
}

#[test]
fn each_answer_of_the_page_is_what_is_written() {
    let examples = examples("Answers");
    for example in &examples {
        let answer = Answer::decode(example.as_bytes()).unwrap();
        assert_eq!(answer.encode(), example.as_bytes(), "{example}");
    }
    let (_, answers) = apply(&self::examples("Commands"));
    let answers: Vec<_> = answers.iter().map(Answer::encode).collect();
    let shown = &examples[..answers.len()];
    let written: Vec<_> =
        answers.iter().map(|answer| std::str::from_utf8(answer).unwrap()).collect();
    assert_eq!(written, shown, "the page shows:\n{}", written.join("\n"));
}

#[test]
fn each_row_of_the_page_is_what_is_written() {
    let commands = examples("Commands");
    let (groups, _) = apply(&commands[..4]);
    let rows = groups.stale_rows();
    let row = std::str::from_utf8(rows[0].1.as_ref().unwrap()).unwrap();
    let (after, _) = apply(&commands);
    let floor = after.stale_rows().into_iter().find(|(key, _)| *key == RowKey::Floor);
    let floor = floor.and_then(|(_, row)| row).unwrap();
    let floor = std::str::from_utf8(&floor).unwrap();
    assert_eq!([row, floor], *examples("Rows"));
    let key = RowKey::new("billing").unwrap();
    let opened = Groups::open([(key, row.to_owned().into())]).unwrap();
    let exported = opened.export();
    assert_eq!([std::str::from_utf8(&exported).unwrap()], *examples("Snapshot"));
    assert_eq!(Groups::import(&exported), Ok(opened));
}

#[test]
fn another_version_or_an_unknown_field_is_refused() {
    let row = examples("Rows")[0];
    let open = |row: &str| {
        let key = RowKey::new("billing").unwrap();
        Groups::open([(key, row.to_owned().into())]).map(drop).map_err(|error| error.to_string())
    };
    let newer = row.replacen("\"v\":1", "\"v\":2", 1);
    let words = "a row of consumer groups is damaged or of a newer release: version 2, this \
                 release reads 1";
    assert_eq!(open(&newer), Err(words.to_owned()));
    assert!(open(&row.replacen("\"epoch\"", "\"epoque\"", 1)).is_err());
    assert!(open(&row[..row.len() - 1]).is_err());
    for example in examples("Commands") {
        let decode = |text: String| Command::decode(text.as_bytes()).map(drop);
        let newer = decode(example.replacen("\"v\":1", "\"v\":2", 1)).unwrap_err().to_string();
        assert!(newer.ends_with("version 2, this release knows 1"), "{newer}");
        assert!(decode(example.replacen(":{", ":{\"more\":1,", 2)).is_err());
        assert!(decode(example[..example.len() - 1].to_owned()).is_err());
    }
}
