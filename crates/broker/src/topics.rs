//! Topics: create, describe, alter, grow, delete. Changes are the metadata group's; this node asks for
//! them from wherever it stands, and waits until they are true for users.

mod add_partitions;
mod alter;
mod create;
mod delete;
mod describe;
mod lookup;
mod relocate;
mod served;

use std::collections::BTreeMap;

pub use quipu_metadata::{Origin, Setting};

use quipu_metadata::InvalidConfig;

pub use add_partitions::{AddPartitions, AddPartitionsError, GrownTopic};
pub use alter::{AlterTopic, AlterTopicError};
pub use create::{CreateTopic, CreateTopicError};
pub use delete::DeleteTopicError;
pub use describe::{PartitionDescription, TopicDescription};
pub use lookup::LookupError;
pub(crate) use lookup::name_code;
pub use relocate::{Destination, MovePartitions, MovePartitionsError};

/// Settings as users write them, in order of key.
pub type ConfigTexts = BTreeMap<String, String>;

fn parse_settings(texts: &ConfigTexts) -> Result<Vec<Setting>, InvalidConfig> {
    texts.iter().map(|(key, value)| Setting::parse(key, value)).collect()
}
