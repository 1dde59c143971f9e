//! `stepwell reconcile`: holds payments, orders, reservations and tasks against each other, as each shop does by itself each hour.
//!
//! A stack has a function for it, which is invoked; the program of one machine has a route at its operators' port.

use super::{
    Common, Reason,
    api::{Api, Caller, read},
    aws::Aws,
    failure::{self, Failure, Kind},
    output::{Progress, confirm, print, say},
    render::counted,
    target::{Place, Target},
};
use checkout::reconciliation::{
    Finding, FindingKind, MIN_AGE, MendOutcome, NotJudged, ReconciliationReport, Remedy, Subject,
};
use clap::{Args, Subcommand};
use reconcile::{Request, Settled};
use std::{convert::Infallible, fmt::Write as _, path::Path, time::Duration};

/// A run takes up to a quarter of an hour.
const PATIENCE: Duration = Duration::from_secs(910);

/// What a report with findings has to say with its exit code.
pub(super) const HELP: &str = concat!(
    "\
By it, 1 says that something does not fit together and is not mended, and 3 that it could not be found out, or not for all checkouts.

",
    failure::exit_codes!()
);

/// The options of `stepwell reconcile`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Mend what is certain, after a question
    #[arg(long)]
    mend: bool,
    /// Do not ask
    #[arg(long, requires = "mend")]
    yes: bool,
    /// Judge checkouts that have been at rest for so long, an hour if it is not said. Less, for tests, finds what is only in flight, so nothing
    /// is mended then
    #[arg(long, value_name = "SECONDS")]
    min_age: Option<u64>,
    #[command(flatten)]
    to: Common,
    #[command(subcommand)]
    settled: Option<Acknowledge>,
}

#[derive(Debug, Subcommand)]
enum Acknowledge {
    /// Record that somebody has settled a finding: it is not reported any more
    #[command(after_long_help = failure::EXIT_CODES)]
    Acknowledge {
        /// The id at the beginning of the finding's line
        #[arg(value_parser = |text: &str| Ok::<_, Infallible>(Subject::from(text)))]
        id: Subject,
        /// The kind of the finding, such as refund_failed
        kind: FindingKind,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
}

impl Options {
    pub(super) fn prints_json(&self) -> bool {
        match &self.settled {
            Some(Acknowledge::Acknowledge { to, .. }) => to.json,
            None => self.to.json,
        }
    }
}

pub(super) async fn run(root: Option<&Path>, options: &Options) -> Result<(), Failure> {
    let Options { mend, yes, min_age, to, settled } = options;
    if let Some(Acknowledge::Acknowledge { id, kind, why, to }) = settled {
        return acknowledge(&Reconciler::find(root, &to.target).await?, (id, *kind), &why.reason, to.json).await;
    }
    let least = MIN_AGE.as_secs();
    if let Some(given) = min_age.filter(|given| *mend && *given < least) {
        let why = format!("--min-age {given} is for a run that mends nothing; --mend needs {least} at least");
        return Err(Failure::new(Kind::Usage, why));
    }
    let reconciler = Reconciler::find(root, &to.target).await?;
    let look = Request { all_refunds: true, min_age_seconds: *min_age, ..Request::default() };
    let mut text = reconciler.report(&look).await?;
    let mut report: ReconciliationReport = read(&text)?;
    let certain = report.findings.iter().filter(|finding| finding.remedy != Remedy::Person).count();
    if *mend && certain > 0 {
        if !yes {
            say(lines(&report).trim_end());
            confirm(&format!("Mend {}?", counted(certain, "finding")))?;
        }
        text = reconciler.report(&Request { mend: true, ..look }).await?;
        report = read(&text)?;
    }
    if to.json {
        print(&text)?;
    } else {
        super::write(&lines(&report))?;
    }
    say(format_args!("{} in {}", counted(report.findings.len(), "finding"), counted(report.judged, "checkout")));
    if report.unfinished {
        return Err(Failure::new(
            Kind::NoAnswer,
            "there was no time for all checkouts; a run of a later hour begins with others",
        ));
    }
    if !report.not_judged.is_empty() {
        let left = counted(report.not_judged.len(), "checkout");
        return Err(Failure::new(Kind::NoAnswer, format!("{left} could not be judged")));
    }
    if report.findings.iter().all(|finding| finding.outcome == MendOutcome::Mended) {
        Ok(())
    } else {
        Err(Failure::told())
    }
}

/// A line for each finding, and for each checkout that was not judged.
fn lines(report: &ReconciliationReport) -> String {
    let mut lines = String::new();
    // A text can always be written to.
    for Finding { id, kind, remedy, payment, outcome } in &report.findings {
        let payment = payment.as_ref().map(|payment| format!("  {}", payment.0)).unwrap_or_default();
        let _ = writeln!(lines, "{id}  {:<21}  {:<7}  {outcome}{payment}", kind.as_str(), remedy.as_str());
    }
    for NotJudged { id, why } in &report.not_judged {
        let _ = writeln!(lines, "{id}  not judged: {why}");
    }
    lines
}

async fn acknowledge(
    reconciler: &Reconciler,
    (id, kind): (&Subject, FindingKind),
    why: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let settled = Settled { id: id.clone(), kind, who: reconciler.who().await?, why: why.to_owned() };
    let answer = reconciler.ask(&Request { acknowledge: Some(settled), ..Request::default() }).await?;
    if as_json { print(answer) } else { print(format_args!("{kind} of {id} is not reported any more")) }
}

/// Who reconciles a shop.
enum Reconciler {
    /// A function of a stack, by its name.
    Function(Aws, String),
    /// The program of one machine.
    Program(Api),
}

impl Reconciler {
    async fn find(root: Option<&Path>, target: &Target) -> Result<Self, Failure> {
        Ok(match target.place() {
            Place::LocalStack | Place::Stage(_) => {
                let (stack, aws) = target.stack(root).await?;
                Self::Function(aws, format!("{stack}-reconcile"))
            }
            Place::Data(_) | Place::Url(_) => Self::Program(target.api(root).await?.waiting(PATIENCE)),
        })
    }

    /// Makes a run, which may take long.
    async fn report(&self, request: &Request) -> Result<String, Failure> {
        let mut progress = Progress::new();
        let what = if request.mend { "mending" } else { "reconciling" };
        progress.show(&format!("{what}; this may take up to a quarter of an hour"), None);
        let answered = self.ask(request).await;
        progress.end(false);
        answered.map_err(|failure| Failure {
            // 1 would say that something does not fit together.
            kind: if failure.kind == Kind::Refused { Kind::NoAnswer } else { failure.kind },
            look_first: failure.look_first && request.mend,
            ..failure
        })
    }

    /// Sends a request, once: a run may still go on when its answer is lost.
    async fn ask(&self, request: &Request) -> Result<String, Failure> {
        let body = serde_json::to_string(request)
            .map_err(|error| Failure::new(Kind::Usage, format!("the request cannot be written: {error}")))?;
        match self {
            Self::Function(aws, name) => aws.invoke(name, body, PATIENCE).await,
            Self::Program(api) => match api.post(&["reconciliation"], body).await {
                Ok(answer) => Ok(answer.text),
                Err(failure) => Err(failure.or_if_not_found("a stack reconciles by a function: say its --stage")),
            },
        }
    }

    /// Who asks, for what is kept of a settled finding.
    async fn who(&self) -> Result<String, Failure> {
        match self {
            Self::Function(aws, _) => aws.who().await,
            Self::Program(Api { caller: Caller::Owner(_, Some(name)), .. }) => Ok(name.clone()),
            Self::Program(_) => Ok("operator".to_owned()),
        }
    }
}
