//! The shop's record of its payments, in the `payments` table: which payment of the gateway belongs to a checkout.
//!
//! A record's item has a `payment` and, once the key is void, `voided_at`. A payment is recorded only if `voided_at` is absent,
//! and `voided_at` is written without a condition.
//!
//! Version 0.2 charged a card without opening a payment first. Its gateway kept the charge under the checkout's own key. So an item
//! with a `charge` is a record and its payment at the same time.

use crate::{
    Tables,
    items::{self, AttributeItem, unreadable},
    tables::store_error,
};
use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::ReturnValue};
use checkout::{PaymentRecords, PaymentRef, RecordError, StoreError, VoidedKey, reconciliation::LedgerEntry};
use stepwell::Timestamp;

/// The table of the payments: the shop's records, and the simulated gateway's own items.
pub(crate) const PAYMENTS: &str = "payments";

impl Tables {
    fn update_record(&self, key: &str) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(self.name(PAYMENTS)).key("id", items::text(key));
        update.return_values(ReturnValue::AllNew)
    }
}

/// The payment that a record names.
fn payment_of(key: &str, record: &mut AttributeItem) -> Result<Option<PaymentRef>, StoreError> {
    let charged_under_its_key = record.contains_key("charge").then(|| PaymentRef(key.to_owned()));
    record.remove("payment").map_or(Ok(charged_under_its_key), |payment| items::from_attribute(payment).map(Some))
}

/// Reads the record under this key.
pub(crate) fn read(key: &str, mut record: AttributeItem) -> Result<LedgerEntry, StoreError> {
    let voided_at = record.remove("voided_at").map(items::from_attribute).transpose()?;
    Ok(LedgerEntry::Payment { key: key.to_owned(), payment: payment_of(key, &mut record)?, voided_at })
}

impl PaymentRecords for Tables {
    async fn recorded(&self, key: &str) -> Result<Option<PaymentRef>, RecordError> {
        let Some(mut record) = self.get_consistent(PAYMENTS, key).await? else { return Ok(None) };
        if record.contains_key("voided_at") {
            return Err(RecordError::Void);
        }
        Ok(payment_of(key, &mut record)?)
    }

    async fn record(&self, key: &str, payment: &PaymentRef) -> Result<PaymentRef, RecordError> {
        let recorded = self
            .update_record(key)
            .update_expression("SET payment = if_not_exists(payment, :payment)")
            // An older version charges under the record's own key, and may do so between a look and this write.
            .condition_expression(
                "attribute_not_exists(voided_at) AND (attribute_exists(payment) OR attribute_not_exists(charge))",
            )
            .expression_attribute_values(":payment", items::text(&payment.0))
            .send()
            .await;
        let mut record = match recorded {
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                return Ok(self.recorded(key).await?.ok_or_else(|| unreadable("a record without a payment"))?);
            }
            recorded => recorded.map_err(|error| store_error(&error))?.attributes.unwrap_or_default(),
        };
        let payment = payment_of(key, &mut record)?;
        Ok(payment.ok_or_else(|| unreadable("a record without a payment"))?)
    }

    async fn void(&self, key: &str, at: Timestamp) -> Result<VoidedKey, StoreError> {
        let voided = self
            .update_record(key)
            .update_expression("SET voided_at = if_not_exists(voided_at, :at)")
            .expression_attribute_values(":at", items::to_attribute(&at)?)
            .send()
            .await
            .map_err(|error| store_error(&error))?;
        let mut record: AttributeItem = voided.attributes.unwrap_or_default();
        let at = record.remove("voided_at").ok_or_else(|| unreadable("a void record without a time"))?;
        Ok(VoidedKey { payment: payment_of(key, &mut record)?, at: items::from_attribute(at)? })
    }
}
