//! The simulated payment gateway on the `payments` table. The card's token scripts it, see [`checkout::test_card`].
//!
//! Like a real gateway it stores its charges by idempotency key. It also stores the number of failures there, because
//! Lambda processes are short-lived.
//!
//! A payment's item has a `charge` if the card was charged, and `voided_at` if the key was voided; both together are a
//! refund. A charge is written only if `voided_at` is absent, and `voided_at` is written without a condition. So in
//! either order of the two writes, no charge is left that was not refunded.

use crate::{
    Tables,
    items::{self, AttributeItem, unreadable},
    tables::store_error,
};
use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::ReturnValue};
use checkout::{
    Charge, ChargeRequest, Gateway, GatewayError, RefundRequest, Reversal,
    test_card::{self, Script},
};

/// The simulated gateway. Its state is in the `payments` table.
#[derive(Clone, Debug)]
pub struct GatewaySimulator {
    tables: Tables,
}

/// A scripted failure of a payment: the attribute that counts the failures, and the condition for failing.
struct Failing {
    counter: &'static str,
    condition: &'static str,
}

/// A charge fails only while it is neither made nor voided.
const CHARGING: Failing =
    Failing { counter: "failures", condition: "attribute_not_exists(#charge) AND attribute_not_exists(voided_at)" };

/// A refund fails only while there is a charge that is not refunded.
const REFUNDING: Failing =
    Failing { counter: "refund_failures", condition: "attribute_exists(#charge) AND attribute_not_exists(voided_at)" };

impl GatewaySimulator {
    /// Makes a gateway with its state in these tables.
    pub const fn new(tables: Tables) -> Self {
        Self { tables }
    }

    fn update(&self, key: &str) -> UpdateItemFluentBuilder {
        self.tables.client.update_item().table_name(self.tables.name("payments")).key("id", items::text(key))
    }

    /// Counts one more failure, unless there were `times` failures already or the condition does not hold.
    async fn fails(&self, key: &str, failing: Failing, times: u32) -> Result<bool, GatewayError> {
        let counted = self
            .update(key)
            .update_expression("ADD #failures :one")
            .condition_expression(format!(
                "{} AND (attribute_not_exists(#failures) OR #failures < :times)",
                failing.condition
            ))
            .expression_attribute_names("#charge", "charge")
            .expression_attribute_names("#failures", failing.counter)
            .expression_attribute_values(":one", items::number(1))
            .expression_attribute_values(":times", items::number(times))
            .send()
            .await;
        match counted {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(store_error(&error).into()),
        }
    }

    /// Stores this charge, or returns the existing one, in one write. So concurrent requests make one charge. A void
    /// key refuses both, because a caller that gets a charge assumes that the shop has the money.
    async fn settle(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        let settled = self
            .update(request.idempotency_key)
            .update_expression("SET #charge = if_not_exists(#charge, :charge)")
            .condition_expression("attribute_not_exists(voided_at)")
            .expression_attribute_names("#charge", "charge")
            .expression_attribute_values(":charge", items::to_attribute(&test_card::new_charge(request))?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let settled = match settled {
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                return Err(GatewayError::Voided);
            }
            settled => settled.map_err(|error| store_error(&error))?,
        };
        let mut item: AttributeItem = settled.attributes.unwrap_or_default();
        let charge = item.remove("charge").ok_or_else(|| unreadable("a payment without a charge"))?;
        let charge: Charge = items::from_attribute(charge)?;
        test_card::repeated(charge, request)
    }

    /// Voids the key in one write. After that no charge can be added, so the answer is final.
    async fn void(&self, request: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        let voided = self
            .update(request.idempotency_key)
            .update_expression("SET voided_at = if_not_exists(voided_at, :at)")
            .expression_attribute_values(":at", items::to_attribute(&request.at)?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| store_error(&error))?;
        let mut item: AttributeItem = voided.attributes.unwrap_or_default();
        let at = item.remove("voided_at").ok_or_else(|| unreadable("a void payment without a time"))?;
        let at = items::from_attribute(at)?;
        let Some(charge) = item.remove("charge") else { return Ok(Reversal::Voided { at }) };
        let refund_id = test_card::refund_id(request.idempotency_key);
        Ok(Reversal::Refunded { refund_id, charge: items::from_attribute(charge)?, at })
    }
}

impl Gateway for GatewaySimulator {
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        match Script::of(request.token) {
            Script::Decline(reason) => return Err(GatewayError::Declined(reason)),
            Script::SuspectFraud => return Err(GatewayError::SuspectedFraud),
            Script::TimeOut => return Err(GatewayError::Timeout),
            Script::FailFirst(times, error) if self.fails(request.idempotency_key, CHARGING, times).await? => {
                return Err(error);
            }
            Script::FailFirst(..) | Script::Charge => {}
        }
        self.settle(request).await
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        match request.token.and_then(test_card::refund_failures) {
            Some((times, error)) if self.fails(request.idempotency_key, REFUNDING, times).await? => Err(error),
            _ => self.void(request).await,
        }
    }
}
