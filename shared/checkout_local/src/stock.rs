//! The port [`Stock`] on the tables `reservations` and `products`.

use crate::{
    LocalShop,
    catalogue::stocks,
    rows::{from_json, to_json, unreadable},
};
use checkout::{HoldError, Release, Reservation, Stock, StoreError, TakeError};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use stepwell::Timestamp;
use stepwell_local::FileError;

const RESERVATIONS: &str = "reservations";

/// A row of the table `reservations`.
enum StoredReservation {
    /// The units are out of stock, held or taken.
    Reserved(Reservation),
    /// The units were put back or never held: the key is void.
    Released(Release),
}

fn stored(tx: &Connection, key: &str) -> Result<Option<StoredReservation>, FileError> {
    let mut get = tx.prepare_cached("SELECT reservation, release FROM reservations WHERE key = ?")?;
    let row = get.query_row([key], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?)));
    Ok(match row.optional()? {
        None => None,
        Some((_, Some(release))) => Some(StoredReservation::Released(from_json(RESERVATIONS, key, &release)?)),
        Some((Some(held), None)) => Some(StoredReservation::Reserved(from_json(RESERVATIONS, key, &held)?)),
        Some((None, None)) => return Err(unreadable(RESERVATIONS, key, "it is neither made nor released")),
    })
}

impl Stock for LocalShop {
    async fn hold(&self, key: &str, wanted: &Reservation, at: Timestamp) -> Result<Reservation, HoldError> {
        let (key, wanted) = (key.to_owned(), wanted.clone());
        self.write(move |tx| hold(tx, &key, wanted, at)).await?
    }

    async fn take(&self, key: &str, at: Timestamp) -> Result<Reservation, TakeError> {
        let key = key.to_owned();
        self.write(move |tx| {
            let reservation = match stored(tx, &key)? {
                None => return Ok(Err(TakeError::NothingHeld)),
                Some(StoredReservation::Released(_)) => return Ok(Err(TakeError::Void)),
                Some(StoredReservation::Reserved(reservation)) => reservation,
            };
            let mut take =
                tx.prepare_cached("UPDATE reservations SET taken_at = ?2 WHERE key = ?1 AND taken_at IS NULL")?;
            take.execute((key, at.as_millis()))?;
            Ok(Ok(reservation))
        })
        .await?
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        let key = key.to_owned();
        self.write(move |tx| release(tx, &key, at)).await
    }
}

fn hold(
    tx: &Connection,
    key: &str,
    wanted: Reservation,
    at: Timestamp,
) -> Result<Result<Reservation, HoldError>, FileError> {
    match stored(tx, key)? {
        None => {}
        Some(StoredReservation::Released(_)) => return Ok(Err(HoldError::Void)),
        Some(StoredReservation::Reserved(earlier)) if earlier.is_for_the_lines_of(&wanted) => return Ok(Ok(earlier)),
        Some(StoredReservation::Reserved(_)) => {
            return Err(unreadable(RESERVATIONS, key, "a reservation of another cart under the same key"));
        }
    }
    let lines = &wanted.updated_products;
    let stocks = stocks(tx, lines.iter().map(|line| line.product_id))?;
    let available = |line: &checkout::UpdatedProduct| stocks.get(&line.product_id).copied().unwrap_or_default();
    let short = lines.iter().find(|line| available(line) < line.quantity_reserved);
    if let Some(lack) = wanted.lack().or_else(|| short.map(|line| line.lack(available(line)))) {
        return Ok(Err(lack.into()));
    }
    let mut move_out = tx.prepare_cached("UPDATE products SET stock = stock - ?2 WHERE id = ?1")?;
    for line in lines {
        move_out.execute((line.product_id.0, line.quantity_reserved))?;
    }
    let mut put = tx.prepare_cached("INSERT INTO reservations (key, reservation, held_at) VALUES (?1, ?2, ?3)")?;
    put.execute((key, to_json(&wanted)?, at.as_millis()))?;
    Ok(Ok(wanted))
}

fn release(tx: &Connection, key: &str, at: Timestamp) -> Result<Release, FileError> {
    let release = match stored(tx, key)? {
        Some(StoredReservation::Released(release)) => return Ok(release),
        Some(StoredReservation::Reserved(reservation)) => {
            let ids = reservation.updated_products.iter().map(|line| line.product_id);
            Release::of(&reservation, &stocks(tx, ids)?, at)
        }
        None => Release::of(&Reservation::default(), &BTreeMap::new(), at),
    };
    let mut give = tx.prepare_cached("UPDATE products SET stock = stock + ?2 WHERE id = ?1")?;
    for line in &release.released_products {
        give.execute((line.product_id.0, line.quantity_released))?;
    }
    let mut put = tx.prepare_cached(
        "INSERT INTO reservations (key, release) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET release = ?2",
    )?;
    put.execute((key, to_json(&release)?))?;
    Ok(release)
}
