//! `corosync -t`: is this configuration good?

use std::path::Path;

use crate::cli::Exit;

/// Reads and checks a configuration, and says everything that is wrong with it on the standard error
/// stream.
pub(crate) fn check(file: &Path) -> Exit {
    match config::load(file) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            Exit::Done
        }
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            Exit::Config
        }
    }
}
