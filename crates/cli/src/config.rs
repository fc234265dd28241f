//! `quipu config`: checks and explains settings.

use quipu_server::config::{Config, Layers, setting};

use crate::args::{ConfigVerb, ServeArgs};
use crate::exit::{Failure, USAGE};
use crate::output;

/// Runs the verb.
pub(crate) fn run(verb: ConfigVerb) -> anyhow::Result<()> {
    match verb {
        ConfigVerb::Check(args) => {
            parse(&args)?;
            output::note("configuration is valid");
            Ok(())
        }
        ConfigVerb::Show(args) => show(&args),
        ConfigVerb::Reference => output::line(setting::reference().trim_end()),
    }
}

fn show(args: &ServeArgs) -> anyhow::Result<()> {
    let layers = layers(args)?;
    let rows = layers.iter().map(|(setting, resolved)| {
        vec![setting.key.to_owned(), resolved.text.clone(), resolved.origin.to_string()]
    });
    output::table(&["setting", "value", "origin"], rows)
}

/// The settings of file, environment and flags together.
pub(crate) fn parse(args: &ServeArgs) -> anyhow::Result<Config> {
    Config::from_layers(&layers(args)?)
        .map_err(|error| Failure::with_code(USAGE, error.to_string()))
}

fn layers(args: &ServeArgs) -> anyhow::Result<Layers> {
    let with_file = match &args.config {
        Some(path) => Layers::defaults().file(path),
        None => Ok(Layers::defaults()),
    };
    with_file
        .and_then(|layers| layers.environment(std::env::vars()))
        .and_then(|layers| layers.flags(args.set.iter().map(String::as_str)))
        .map_err(|error| Failure::with_code(USAGE, error.to_string()))
}
