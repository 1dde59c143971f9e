//! The simulated payment gateway on the `payments` table. The card's token scripts it, see [`checkout::test_card`].
//!
//! Lambda processes are short-lived, so all of a payment is in its item: what it was opened for, the `charge` if the card was
//! charged, `reversed_at` if it was cancelled or refunded, and the number of scripted failures. A charge is written only if
//! `reversed_at` is absent, and `reversed_at` is written without that condition. So in either order of the two writes, no
//! charge is left that was not refunded.

use crate::{
    Tables,
    items::{self, AttributeItem, unreadable},
    payment_records::PAYMENTS,
    tables::store_error,
};
use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::ReturnValue};
use checkout::{
    Charge, ChargesPage, Gateway, GatewayError, OpenRequest, PaymentRef, PaymentState, Reversal, Token,
    test_card::{self, RefundPlan, Script, SimulatedPayment},
};
use stepwell::Timestamp;

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
    Failing { counter: "failures", condition: "attribute_not_exists(#charge) AND attribute_not_exists(reversed_at)" };

/// A refund fails only while there is a charge that is not refunded.
const REFUNDING: Failing = Failing {
    counter: "refund_failures",
    condition: "attribute_exists(#charge) AND attribute_not_exists(reversed_at)",
};

impl GatewaySimulator {
    /// Makes a gateway with its state in these tables.
    pub const fn new(tables: Tables) -> Self {
        Self { tables }
    }

    fn update(&self, payment: &PaymentRef) -> UpdateItemFluentBuilder {
        self.tables.client.update_item().table_name(self.tables.name(PAYMENTS)).key("id", items::text(&payment.0))
    }

    /// Counts one more failure, unless there were `times` failures already or the condition does not hold.
    async fn fails(&self, payment: &PaymentRef, failing: Failing, times: u32) -> Result<bool, GatewayError> {
        let counted = self
            .update(payment)
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

    async fn stored(&self, payment: &PaymentRef) -> Result<SimulatedPayment, GatewayError> {
        let item = self.tables.get_consistent(PAYMENTS, &payment.0).await?.ok_or_else(test_card::no_such_payment)?;
        Ok(items::from_item(item)?)
    }

    /// Stores this charge, or returns the existing one, in one write. So concurrent requests make one charge.
    async fn settle(
        &self,
        payment: &PaymentRef,
        charge: &Charge,
        refund_script: Option<&str>,
    ) -> Result<Charge, GatewayError> {
        let settled = self
            .update(payment)
            .update_expression(
                "SET #charge = if_not_exists(#charge, :charge), refund_script = if_not_exists(refund_script, :script)",
            )
            .condition_expression("attribute_not_exists(reversed_at)")
            .expression_attribute_names("#charge", "charge")
            .expression_attribute_values(":charge", items::to_attribute(charge)?)
            .expression_attribute_values(":script", items::text(refund_script.unwrap_or_default()))
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
        Ok(items::from_attribute(charge)?)
    }

    /// Cancels or refunds the payment in one write. After that no charge can be added, so the answer is final.
    async fn close(&self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        let closed = self
            .update(payment)
            .update_expression("SET reversed_at = if_not_exists(reversed_at, :at)")
            .expression_attribute_values(":at", items::to_attribute(&at)?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| store_error(&error))?;
        let stored: SimulatedPayment = items::from_item(closed.attributes.unwrap_or_default())?;
        match stored.state(payment, at) {
            PaymentState::Reversed(reversal) => Ok(reversal),
            _ => Err(unreadable("a reversed payment without a time").into()),
        }
    }
}

impl Gateway for GatewaySimulator {
    async fn open(&self, request: &OpenRequest<'_>) -> Result<PaymentRef, GatewayError> {
        let payment = test_card::payment_ref(request);
        let opened = self
            .update(&payment)
            .update_expression("SET opened = if_not_exists(opened, :opened)")
            .expression_attribute_values(":opened", items::to_attribute(&SimulatedPayment::open(request).opened)?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| store_error(&error))?;
        let stored: SimulatedPayment = items::from_item(opened.attributes.unwrap_or_default())?;
        stored.check(request)?;
        Ok(payment)
    }

    async fn confirm(&self, payment: &PaymentRef, token: &Token, at: Timestamp) -> Result<Charge, GatewayError> {
        let script = Script::of(token);
        match &script {
            Script::Decline(reason) => return Err(GatewayError::Declined(reason)),
            Script::SuspectFraud => return Err(GatewayError::SuspectedFraud),
            Script::TimeOut => return Err(GatewayError::Timeout),
            Script::FailFirst(times, error) if self.fails(payment, CHARGING, *times).await? => {
                return Err(error.clone());
            }
            Script::FailFirst(..) | Script::Charge | Script::LoseAnswer => {}
        }
        let (charge, refund_script) = self.stored(payment).await?.new_charge(payment, token, at)?;
        let charge = self.settle(payment, &charge, refund_script.as_deref()).await?;
        if script == Script::LoseAnswer { Err(GatewayError::Timeout) } else { Ok(charge) }
    }

    async fn read(&self, payment: &PaymentRef, at: Timestamp) -> Result<PaymentState, GatewayError> {
        Ok(self.stored(payment).await?.state(payment, at))
    }

    async fn cancel_or_refund(&self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        match self.stored(payment).await?.plan_refund(payment, at) {
            RefundPlan::Made(reversal) => return Ok(reversal),
            RefundPlan::Refuse(error) => return Err(error),
            RefundPlan::FailFirst(times, error) if self.fails(payment, REFUNDING, times).await? => return Err(error),
            RefundPlan::FailFirst(..) | RefundPlan::Make => {}
        }
        self.close(payment, at).await
    }

    /// Scans a page of the table. The items whose ids have a colon are the shop's own.
    async fn list_charges(&self, since: Timestamp, after: Option<&str>) -> Result<ChargesPage, GatewayError> {
        let after = after.map(|id| AttributeItem::from([("id".to_owned(), items::text(id))]));
        let scan = self.tables.client.scan().table_name(self.tables.name(PAYMENTS)).set_exclusive_start_key(after);
        let page = scan.send().await.map_err(|error| store_error(&error))?;
        let id_of = |item: &AttributeItem| item.get("id").and_then(|id| id.as_s().ok().cloned());
        let mut charges = Vec::new();
        for item in page.items.into_iter().flatten() {
            let Some(id) = id_of(&item).filter(|id| !id.contains(':')) else { continue };
            let stored: SimulatedPayment = items::from_item(item)?;
            charges.extend(stored.listed(&PaymentRef(id), since));
        }
        Ok(ChargesPage { charges, next: page.last_evaluated_key.as_ref().and_then(id_of) })
    }
}
