//! Which shop a command is about: the one of a data folder, a stack in AWS, the local stack, or whatever is at a URL.

use super::{
    api::{Api, Caller, Token},
    aws::Aws,
    failure::{Failure, Kind},
};
use crate::project;
use clap::Args;
use std::{
    collections::BTreeMap,
    env,
    fmt::Display,
    fs,
    io::ErrorKind,
    path::{self, Path, PathBuf},
    process::Stdio,
};

/// The folder of one machine's data if none is said, as for `checkout_local serve`.
const DATA: &str = "stepwell-data";

/// The stage of the stack that `infra/local.sh` starts.
const LOCAL: &str = "local";

/// The file with the operators' address, in the folder of a shop that runs.
const URL_FILE: &str = "operators-url";

/// The file with the operators' token.
const TOKEN_FILE: &str = "operator-token";

/// What to look at if nothing answers at a URL that was said.
const RUNS: &str = "Is that its base URL, and does it run?";

/// Which shop.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The shop on this machine with this data folder, while it runs; stepwell-data if no shop is said
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["stage", "url"], help_heading = "Which shop")]
    data: Option<PathBuf>,
    /// The stack stepwell-STAGE in AWS; `local` is the one of infra/local.sh, on port 4566 or STEPWELL_PORT
    #[arg(long, value_name = "STAGE", group = "deployed", value_parser = stage, help_heading = "Which shop")]
    stage: Option<String>,
    /// The base URL of an operators' API
    #[arg(long, value_name = "URL", group = "deployed", help_heading = "Which shop")]
    url: Option<String>,
    /// The region of the stack; what your AWS configuration says if it is not said
    #[arg(long, value_name = "REGION", requires = "deployed", conflicts_with = "data", help_heading = "Which shop")]
    region: Option<String>,
    /// A token instead of AWS credentials, for a stack with OperatorJwtIssuer; STEPWELL_TOKEN if it is not said
    // The variable is no option to clap: set for other commands, it would contradict --data.
    #[arg(long, value_name = "TOKEN", requires = "deployed", conflicts_with = "data", help_heading = "Which shop")]
    token: Option<String>,
}

/// A name that a stack can have.
fn stage(text: &str) -> Result<String, &'static str> {
    let is_one = text.len() <= 10
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    is_one.then(|| text.to_owned()).ok_or("a stage is 1 to 10 small letters and digits, a letter first")
}

/// What a command is about.
pub(super) enum Place<'a> {
    Data(&'a Path),
    LocalStack,
    Stage(&'a str),
    Url(&'a str),
}

impl Target {
    /// Where it is.
    pub(super) fn place(&self) -> Place<'_> {
        match (&self.url, &self.stage) {
            (Some(url), _) => Place::Url(url),
            (None, Some(stage)) if stage == LOCAL => Place::LocalStack,
            (None, Some(stage)) => Place::Stage(stage),
            (None, None) => Place::Data(self.data.as_deref().unwrap_or(Path::new(DATA))),
        }
    }

    /// The token that is said, here or in the environment.
    fn token(&self) -> Result<Option<Token>, Failure> {
        let of_environment = || env::var("STEPWELL_TOKEN").ok().filter(|token| !token.is_empty());
        self.token.clone().or_else(of_environment).map(|token| Token::new(&token)).transpose()
    }

    /// The options that name the shop, for a command to type next.
    fn options(&self) -> String {
        let region = self.region.as_ref().map(|region| format!(" --region {region}")).unwrap_or_default();
        match self.place() {
            Place::Data(data) if self.data.is_some() => format!(" --data {}", data.display()),
            Place::Data(_) => String::new(),
            Place::LocalStack => format!(" --stage {LOCAL}"),
            Place::Stage(stage) => format!(" --stage {stage}{region}"),
            Place::Url(url) => format!(" --url {url}{region}"),
        }
    }

    /// Finds the API. `root` is the root of the repository if it is said.
    ///
    /// # Errors
    /// It does not run, or there are no credentials for it.
    pub(super) async fn api(&self, root: Option<&Path>) -> Result<Api, Failure> {
        let (url, caller, start) = match self.place() {
            Place::Data(data) => {
                let (url, token) = of_data(data)?;
                let start = how_to_serve(data);
                let name = ["USER", "LOGNAME"]
                    .into_iter()
                    .find_map(|name| env::var(name).ok().filter(|name| !name.is_empty()));
                (url, Caller::Owner(token, name), start)
            }
            Place::LocalStack => {
                let variables = local_stack(root).await?;
                let variable = |name: &str| variables.get(name).cloned();
                let url = variable("API")
                    .ok_or_else(|| Failure::new(Kind::NoAnswer, "infra/local.sh env does not say API"))?;
                let caller = Caller::Signed(Box::new(Aws::of_local_stack(variable)?));
                (url, caller, "Start it: infra/local.sh up".to_owned())
            }
            Place::Stage(stage) => {
                let (aws, stack) = (Aws::of_environment(self.region.clone()).await?, stack(stage));
                let found = aws.api_url(&stack).await?;
                let url = found.ok_or_else(|| {
                    let text = format!("there is no stack {stack} in {}, or it is still being made", aws.region);
                    Failure::new(Kind::NoAnswer, text)
                })?;
                let caller = Caller::Signed(Box::new(aws));
                (url, caller, format!("Is the stack {stack} still there?"))
            }
            Place::Url(url) => {
                let caller = match self.token()? {
                    Some(token) => Caller::Token(token),
                    None => {
                        let aws = Aws::of_environment(self.region.clone()).await;
                        Caller::Signed(Box::new(aws.map_err(|failure| failure.with_hint(if_one_machine(url)))?))
                    }
                };
                (url.to_owned(), caller, RUNS.to_owned())
            }
        };
        let caller = match (caller, self.token()?) {
            (Caller::Signed(_), Some(token)) => Caller::Token(token),
            (caller, _) => caller,
        };
        Api::new(&url, caller, self.options(), start)
    }

    /// Finds the API of a stack's customers.
    ///
    /// # Errors
    /// It does not run, or no stack is said.
    pub(super) async fn customers(&self, root: Option<&Path>) -> Result<Api, Failure> {
        match self.place() {
            Place::Url(url) => Api::new(url, Caller::Customer, self.options(), RUNS.to_owned()),
            Place::LocalStack | Place::Stage(_) => Ok(self.api(root).await?.for_customers()),
            Place::Data(_) => Err(Failure::new(
                Kind::Usage,
                "one machine has a demo with a shop of its own: cargo run -p checkout_local -- demo. For a stack say --stage STAGE or \
                 --url URL",
            )),
        }
    }

    /// The stack, and who asks AWS about it.
    ///
    /// # Errors
    /// There is no such stack, or none is said.
    pub(super) async fn stack(&self, root: Option<&Path>) -> Result<(String, Aws), Failure> {
        match self.place() {
            Place::LocalStack => {
                let variables = local_stack(root).await?;
                Ok((stack(LOCAL), Aws::of_local_stack(|name| variables.get(name).cloned())?))
            }
            Place::Stage(stage) => Ok((self::stack(stage), Aws::of_environment(self.region.clone()).await?)),
            Place::Data(_) | Place::Url(_) => Err(Failure::new(Kind::Usage, "no stack is said: say --stage STAGE")),
        }
    }
}

/// The name of a stage's stack.
fn stack(stage: &str) -> String {
    format!("stepwell-{stage}")
}

/// The address and the token of the shop that runs with this data folder.
fn of_data(data: &Path) -> Result<(String, Token), Failure> {
    let file = |name| {
        let path = data.join(name);
        fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_shop(
                data,
                format_args!(
                    "no shop runs with the data folder {}: there is no file {name}",
                    path::absolute(data).unwrap_or_else(|_| data.to_owned()).display()
                ),
            ),
            _ => Failure::new(Kind::NotLetIn, format!("{}: {error}", path.display())),
        })
    };
    let url = file(URL_FILE)?;
    Ok((url.trim().to_owned(), Token::new(&file(TOKEN_FILE)?)?))
}

/// What somebody may have meant who names a port of this machine without a token.
fn if_one_machine(url: &str) -> Option<&'static str> {
    let is_here = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|here| url.starts_with(here));
    is_here.then_some(
        "If it is the shop of one machine: say --data FOLDER, or --token with the text of its file operator-token",
    )
}

/// Says why a data folder is not that of a shop, and what to do.
pub(super) fn no_shop(data: &Path, why: impl Display) -> Failure {
    let text = format!("{why}. {}; or say which shop: --data FOLDER, --stage STAGE, --url URL", how_to_serve(data));
    Failure::new(Kind::NoAnswer, text)
}

fn how_to_serve(data: &Path) -> String {
    format!("Start it: cargo run -p checkout_local -- serve --data {}", data.display())
}

/// The variables that `infra/local.sh env` prints.
async fn local_stack(root: Option<&Path>) -> Result<BTreeMap<String, String>, Failure> {
    // As a person is told to take them over, and then all that there are, each ended by a zero byte.
    const SCRIPT: &str = r#"environment=$(infra/local.sh env) && eval "$environment" && env -0"#;
    let start = env::current_dir().unwrap_or_default();
    let root = project::root(root, &start).map_err(|finding| Failure::new(Kind::NoAnswer, finding.to_string()))?;
    let mut bash = tokio::process::Command::new("bash");
    let run = bash.args(["-c", SCRIPT]).current_dir(&root).stdin(Stdio::null()).output();
    let output = run.await.map_err(|error| Failure::new(Kind::NoAnswer, format!("bash does not start: {error}")))?;
    if !output.status.success() {
        // The script says why, and how it is started.
        return Err(Failure::new(Kind::NoAnswer, String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
    Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
