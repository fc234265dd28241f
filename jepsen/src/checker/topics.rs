//! A deleted topic stays deleted; one made again is another one.

use std::collections::HashMap;

use super::Anomaly;
use super::family::{Answer, Completed, Family, Moment};
use super::finding::Findings;
use super::run::Run;
use crate::history::{Call, Outcome};

/// Lives of topics.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    deleted: HashMap<String, Moment>,
    // Topic id to the topic that got it, and the line.
    ids: HashMap<String, (String, u64)>,
}

impl Family for Topics {
    fn completed(&mut self, op: &Completed<'_>, _run: &mut Run, out: &mut Findings) {
        let Answer::Ok(outcome) = op.answer else { return };
        match (&op.open.call, outcome) {
            (Call::DeleteTopic { topic }, _) => {
                self.deleted.entry(topic.clone()).or_insert(op.done);
            }
            (Call::CreateTopic { topic }, Outcome::Created { id }) => {
                self.created(topic, id, op, out);
            }
            (Call::Append { partition, .. } | Call::ListOffsets { partition }, _) => {
                self.answered(partition.topic(), op, out);
            }
            (Call::Poll { reads, .. }, Outcome::Polled { partitions }) if !reads.is_empty() => {
                for polled in partitions {
                    self.answered(polled.partition.topic(), op, out);
                }
            }
            _ => {}
        }
    }
}

impl Topics {
    fn created(&mut self, topic: &str, id: &str, op: &Completed<'_>, out: &mut Findings) {
        let before = self.ids.insert(id.to_owned(), (topic.to_owned(), op.done.line));
        let Some((other, line)) = before.filter(|(other, _)| other != topic) else { return };
        out.report(Anomaly::TopicLifecycle, &topic, &[], &[line, op.done.line], || {
            format!("the id {id} was given to {other} before")
        });
    }

    fn answered(&self, topic: &str, op: &Completed<'_>, out: &mut Findings) {
        let Some(deleted) = self.deleted.get(topic) else { return };
        if *deleted < op.open.invoked {
            let lines = [deleted.line, op.open.invoked.line, op.done.line];
            out.report(Anomaly::TopicLifecycle, &topic, &[], &lines, || {
                "a deleted topic answered".to_owned()
            });
        }
    }
}
