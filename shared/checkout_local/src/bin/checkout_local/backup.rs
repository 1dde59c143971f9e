//! `checkout_local backup`: copies the shop's file.

use crate::{failure::Failure, say, server::SHOP};
use checkout_local::CARD_TOKENS;
use clap::Args;
use std::path::PathBuf;
use stepwell_local::back_up;

/// The options of `backup`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder of all data
    #[arg(long, value_name = "FOLDER", default_value = "stepwell-data")]
    data: PathBuf,
    /// The copy, a file that is not there yet
    #[arg(value_name = "COPY")]
    copy: PathBuf,
}

/// Copies the shop's file, and says how it is restored.
///
/// # Errors
/// See [`Failure`].
pub(crate) fn backup(Options { data, copy }: &Options) -> Result<(), Failure> {
    let size = back_up(&data.join(SHOP), copy, &[CARD_TOKENS])?;
    let (data, copy) = (data.display(), copy.display());
    say(format_args!("{copy} has the shop as it was when this command began, in {size} bytes."))?;
    say("To restore it, stop the shop, and run:")?;
    say(format_args!("  mkdir -p '{data}/replaced' && mv '{data}'/{SHOP}* '{data}/replaced/'"))?;
    say(format_args!("  cp '{copy}' '{data}/{SHOP}'"))?;
    say("Then start it. `checkout_local backup --help` says what the copy lacks, and what happens then.")
}
