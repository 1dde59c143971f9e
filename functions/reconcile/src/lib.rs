//! The function of the reconciliation: its requests, its answers and its log lines, of which the template's alarms are made.
//! [`checkout::reconciliation`] does the work.

use checkout::{
    Gateway, PaymentRecords, Stock, StoreError,
    reconciliation::{
        FindingKind, Ledger, MIN_AGE, MendOutcome, ReconcileError, Reconciliation, ReconciliationReport, Scope, Subject,
    },
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use stepwell::{
    Runtime, Timestamp,
    ports::{Queue, Store},
};

#[cfg(test)]
mod tests;

/// The log message of a run that mends, with the number of its findings. Metrics are made of it.
pub const RECONCILIATION: &str = "reconciliation";

/// The log message of each finding of such a run.
pub const FINDING: &str = "reconciliation finding";

/// A request. By default it lists what is wrong and changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Whether what is certain is mended. The hourly run does it.
    pub mend: bool,
    /// Whether all refunds of the last weeks are looked at, and not only those whose hour of the day it is.
    pub all_refunds: bool,
    /// How many seconds a checkout has to be at rest before it is judged. Less than the default is for tests, and mends
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_age_seconds: Option<u64>,
    /// A finding that somebody has settled. Then nothing else is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<Settled>,
}

/// A finding that somebody has settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// What it is about, as the report says.
    pub id: Subject,
    /// The kind of the finding.
    pub kind: FindingKind,
    /// Who has settled it.
    pub who: String,
    /// What was done, or why nothing has to be.
    pub why: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The result of a run.
    Report(ReconciliationReport),
    /// A finding was settled.
    Acknowledged {
        /// What it is about.
        acknowledged: Subject,
    },
}

/// The reason why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A run that mends would judge checkouts that may be in flight.
    #[error(
        "min_age_seconds is {given}, and a run that mends needs {least} at least: younger checkouts may be in flight"
    )]
    TooYoung {
        /// The given age.
        given: u64,
        /// The least age.
        least: u64,
    },
    /// `who` or `why` is empty.
    #[error("acknowledge needs who has settled the finding, and why")]
    NoReason,
    /// There is no such finding about this.
    #[error("{kind} cannot be about `{id}`; give the id at the beginning of the finding's line")]
    NotAbout {
        /// The kind.
        kind: FindingKind,
        /// The id.
        id: Subject,
    },
    /// The run could not be made.
    #[error(transparent)]
    Run(#[from] ReconcileError),
    /// The table gave no answer.
    #[error("the finding could not be acknowledged: {0}")]
    NotAcknowledged(#[from] StoreError),
}

impl RequestError {
    /// Whether the request itself is wrong, so that repeating it changes nothing.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::TooYoung { .. } | Self::NoReason | Self::NotAbout { .. })
    }
}

/// Does what a request asks for, until this time at the latest.
///
/// # Errors
/// See [`RequestError`].
pub async fn handle<P, G, S, Q, A>(
    reconciliation: &Reconciliation<P, G, S, Q, A>,
    request: Request,
    until: Timestamp,
) -> Result<Answer, RequestError>
where
    P: Ledger + PaymentRecords + Stock,
    G: Gateway,
    S: Store,
    Q: Queue,
    A: Runtime,
{
    if let Some(Settled { id, kind, who, why }) = request.acknowledge {
        if who.trim().is_empty() || why.trim().is_empty() {
            return Err(RequestError::NoReason);
        }
        if !kind.is_about(&id) {
            return Err(RequestError::NotAbout { kind, id });
        }
        tracing::info!(%id, %kind, who, why, "finding acknowledged");
        reconciliation.acknowledge(id.clone(), kind, who, why).await?;
        return Ok(Answer::Acknowledged { acknowledged: id });
    }
    let least = MIN_AGE.as_secs();
    let min_age = match request.min_age_seconds {
        Some(given) if request.mend && given < least => return Err(RequestError::TooYoung { given, least }),
        given => given.map_or(MIN_AGE, Duration::from_secs),
    };
    let scope = Scope { mend: request.mend, all_refunds: request.all_refunds, min_age, until };
    let report = reconciliation.run(&scope).await?;
    log(&report, request.mend);
    Ok(Answer::Report(report))
}

/// Logs a run: a line for each finding, and one for the run. What the run has mended is told, too: nobody should be refunded
/// without anybody knowing why. The lines of a dry run are no part of the metrics.
fn log(report: &ReconciliationReport, mend: bool) {
    for finding in &report.findings {
        let (id, kind, remedy, outcome) = (&finding.id, finding.kind, finding.remedy, &finding.outcome);
        if mend {
            tracing::warn!(%id, %kind, ?remedy, ?outcome, "{FINDING}");
        } else {
            tracing::info!(%id, %kind, ?remedy, "reconciliation finding, dry run");
        }
    }
    for not_judged in &report.not_judged {
        tracing::warn!(id = not_judged.id, why = not_judged.why, "checkout not reconciled");
    }
    let (judged, findings, not_judged) = (report.judged, report.findings.len(), report.not_judged.len());
    let mended = report.findings.iter().filter(|finding| finding.outcome == MendOutcome::Mended).count();
    let unfinished = report.unfinished;
    if mend {
        tracing::info!(judged, findings, mended, not_judged, unfinished, "{RECONCILIATION}");
    } else {
        tracing::info!(judged, findings, not_judged, unfinished, "reconciliation, dry run");
    }
}
