//! `checkout_local backup` copies the shop's file, and `checkout_local restore` puts a copy in its place.

use crate::{
    failure::{Failure, other},
    say,
    serve::stop_flag,
    server::SHOP,
};
use checkout_local::{CARD_TOKENS, SCHEMA};
use clap::Args;
use std::{path::PathBuf, sync::atomic::Ordering::Relaxed};
use stepwell_local::{back_up, restore as put_back};

/// The options of `backup` and `restore`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder of all data
    #[arg(long, value_name = "FOLDER", default_value = "stepwell-data")]
    data: PathBuf,
    /// The copy: for `backup` a file that is not there yet
    #[arg(value_name = "COPY")]
    copy: PathBuf,
}

/// Copies the shop's file, and says how it is restored.
///
/// # Errors
/// See [`Failure`].
pub(crate) fn backup(Options { data, copy }: &Options) -> Result<(), Failure> {
    let stop = stop_flag()?;
    let asked = stop.clone();
    let size = back_up(&data.join(SHOP), copy, &[CARD_TOKENS], move || asked.load(Relaxed));
    if stop.load(Relaxed) && size.is_err() {
        return Err(other("interrupted: there is no copy"));
    }
    let (size, copy) = (size?, copy.display());
    say(format_args!("{copy} has the shop as it was when this command began, in {size} bytes."))?;
    say(format_args!("To restore it, stop the shop, and run: checkout_local restore {copy} --data {}", data.display()))
}

/// Puts a copy in the place of the shop's file, and says where that is.
///
/// # Errors
/// See [`Failure`].
pub(crate) fn restore(Options { data, copy }: &Options) -> Result<(), Failure> {
    let replaced = put_back(&data.join(SHOP), copy, &[stepwell_local::SCHEMA, SCHEMA])?;
    say(format_args!("The shop in {} is the one of {} now. Start it.", data.display(), copy.display()))?;
    match replaced {
        Some(folder) => say(format_args!(
            "What it was before is in {}. It has the tokens of cards: delete it once you do not need it.",
            folder.display()
        )),
        None => Ok(()),
    }
}
