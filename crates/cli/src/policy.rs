//! `quipu policy`: settings that topics inherit by their names.

use quipu_client::Policy;

use crate::args::{Format, Global, PolicyVerb};
use crate::topic::{confirm, pairs};
use crate::{connect, output};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: PolicyVerb) -> anyhow::Result<()> {
    connect::block_on(async {
        let admin = connect::client(global).await?.admin();
        match verb {
            PolicyVerb::Set { pattern, config, dry_run } => {
                let policy = Policy { config: pairs(&config)?, ..Policy::new(pattern) };
                let set = if dry_run {
                    admin.preview_set_policy(policy).await?
                } else {
                    admin.set_policy(policy).await?
                };
                show(global, &[set])?;
                nothing_changed(dry_run);
                Ok(())
            }
            PolicyVerb::List => {
                let policies = admin.list_policies().await?;
                match global.output {
                    Format::Json => output::json(&policies),
                    Format::Raw | Format::Table => show(global, &policies),
                }
            }
            PolicyVerb::Delete { pattern, yes, dry_run } => {
                if dry_run {
                    show(global, &[admin.preview_delete_policy(&pattern).await?])?;
                    nothing_changed(true);
                    return Ok(());
                }
                confirm(&pattern, yes, "lets topics go back to other policies or the defaults")?;
                let deleted = admin.delete_policy(&pattern).await?;
                output::note(&format!(
                    "policy {} is deleted; {} topics had a setting from it",
                    deleted.pattern, deleted.topics
                ));
                Ok(())
            }
        }
    })
}

fn nothing_changed(is_dry_run: bool) {
    if is_dry_run {
        output::note("nothing was changed (--dry-run)");
    }
}

/// One JSON object for one policy; a row for each setting in a table.
fn show(global: &Global, policies: &[Policy]) -> anyhow::Result<()> {
    match global.output {
        Format::Json => policies.iter().try_for_each(output::json),
        Format::Raw => policies.iter().try_for_each(|policy| output::line(&policy.pattern)),
        Format::Table => {
            let rows = policies.iter().flat_map(|policy| {
                policy.config.iter().map(|(key, value)| {
                    let topics = policy.topics.to_string();
                    vec![policy.pattern.clone(), key.clone(), value.clone(), topics]
                })
            });
            output::table(&["pattern", "setting", "value", "topics"], rows)
        }
    }
}
