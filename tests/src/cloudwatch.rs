//! CloudWatch as far as the alarms of the template need it: metrics from log lines in the embedded metric format, and the rules of alarms.
//!
//! Values come late: AWS tells what it counts itself a minute or two after the minute, and log lines have to be taken first. A rule that fills what is missing
//! with zeros has zeros for the newest minutes. A rule that does not looks for older values in their place.

use serde_json::Value;
use std::collections::BTreeMap;

/// The stage that names are resolved for.
pub(crate) const STAGE: &str = "dev";

/// After how many seconds a value has come.
pub(crate) const LATE: u64 = 120;

/// How many periods before those of its rule CloudWatch looks at where values are missing.
pub(crate) const EARLIER: u64 = 2;

/// A metric of one series: its namespace, its name, and its dimensions.
pub(crate) type MetricKey = (String, String, BTreeMap<String, String>);

/// The values that were reported, with their times in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(BTreeMap<MetricKey, Vec<(u64, f64)>>);

impl Metrics {
    /// Reports a value of this metric at this time.
    pub(crate) fn put(&mut self, key: MetricKey, at: u64, value: f64) {
        self.0.entry(key).or_default().push((at, value));
    }

    /// Takes the metrics out of log lines, as if all were written at this time. Panics where CloudWatch would drop a line.
    pub(crate) fn read(&mut self, lines: &str, at: u64) {
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let Some(metadata) = line.get("_aws") else { continue };
            assert!(metadata["Timestamp"].is_u64(), "{line}");
            for directive in metadata["CloudWatchMetrics"].as_array().unwrap() {
                for set in directive["Dimensions"].as_array().unwrap() {
                    let of = |name: &Value| name.as_str().unwrap().to_owned();
                    let dimension = |name: &Value| (of(name), of(&line[name.as_str().unwrap()]));
                    let dimensions: BTreeMap<_, _> = set.as_array().unwrap().iter().map(dimension).collect();
                    for metric in directive["Metrics"].as_array().unwrap() {
                        let key = (of(&directive["Namespace"]), of(&metric["Name"]), dimensions.clone());
                        self.put(key, at, line[metric["Name"].as_str().unwrap()].as_f64().unwrap());
                    }
                }
            }
        }
    }

    /// The names of all series.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &MetricKey> {
        self.0.keys()
    }
}

/// The state of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The rule does not hold.
    Ok,
    /// The rule holds.
    Alarm,
}

/// The rule of an alarm.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The alarm's name, without the stack's.
    pub(crate) name: String,
    /// The text of the alarm.
    pub(crate) description: String,
    expression: String,
    counts: BTreeMap<String, Count>,
    /// The length of a period in seconds.
    pub(crate) period: u64,
    periods: u64,
    breaching: usize,
    above: bool,
    threshold: f64,
    missing: String,
}

#[derive(Clone, Debug)]
struct Count {
    key: MetricKey,
    statistic: String,
}

impl Rule {
    /// The name without the number that alarms have of which there are several, because one takes so many metrics only.
    pub(crate) fn kind(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit())
    }
}

/// The rules of all alarms of a template, with its parameters as they are by default.
pub(crate) fn rules(template: &Value) -> Vec<Rule> {
    let resources = template["Resources"].as_object().unwrap();
    let alarms = resources.values().filter(|resource| resource["Type"] == "AWS::CloudWatch::Alarm");
    alarms.map(|alarm| Rule::new(template, &alarm["Properties"])).collect()
}

/// The text of a property; of a resource its logical id.
fn text(template: &Value, value: &Value) -> String {
    if let Some(name) = value["Ref"].as_str() {
        let default = &template["Parameters"][name]["Default"];
        return if default.is_null() { name.to_owned() } else { plain(default) };
    }
    if let Some(resource) = value["Fn::GetAtt"][0].as_str() {
        return resource.to_owned();
    }
    let sub = |text: &str| {
        text.replace("${Stage}", STAGE)
            .replace("${RunbookUrl}", &plain(&template["Parameters"]["RunbookUrl"]["Default"]))
    };
    value["Fn::Sub"].as_str().map_or_else(|| plain(value), sub)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Rule {
    fn new(template: &Value, alarm: &Value) -> Self {
        let text = |value: &Value| text(template, value);
        let number = |value: &Value| text(value).parse::<f64>().unwrap_or_else(|_| panic!("no number: {value}"));
        let whole = |value: &Value| value.as_u64().unwrap();
        let (mut expression, mut counts, mut period) = (None, BTreeMap::new(), 0);
        for metric in alarm["Metrics"].as_array().unwrap() {
            let id = metric["Id"].as_str().unwrap().to_owned();
            match metric["Expression"].as_str() {
                Some(said) => expression = Some(said.to_owned()),
                None => {
                    assert_eq!(metric["ReturnData"], false, "an alarm watches one value");
                    let said = &metric["MetricStat"];
                    let metric = &said["Metric"];
                    let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
                    let dimensions = dimensions.map(|one| (text(&one["Name"]), text(&one["Value"]))).collect();
                    let key = (text(&metric["Namespace"]), text(&metric["MetricName"]), dimensions);
                    period = whole(&said["Period"]);
                    counts.insert(id, Count { key, statistic: text(&said["Stat"]) });
                }
            }
        }
        Self {
            name: text(&alarm["AlarmName"]).strip_prefix(&format!("stepwell-{STAGE}-")).unwrap().to_owned(),
            description: text(&alarm["AlarmDescription"]),
            expression: expression.unwrap(),
            counts,
            period,
            periods: whole(&alarm["EvaluationPeriods"]),
            breaching: usize::try_from(whole(&alarm["DatapointsToAlarm"])).unwrap(),
            above: match alarm["ComparisonOperator"].as_str().unwrap() {
                "GreaterThanThreshold" => true,
                "LessThanThreshold" => false,
                other => panic!("{other}"),
            },
            threshold: number(&alarm["Threshold"]),
            missing: text(&alarm["TreatMissingData"]),
        }
    }

    /// How many periods have to breach the threshold.
    pub(crate) fn breaching(&self) -> usize {
        self.breaching
    }

    /// The number of periods that it looks at.
    pub(crate) fn periods(&self) -> usize {
        usize::try_from(self.periods).unwrap()
    }

    /// Whether each value that is missing counts as zero.
    pub(crate) fn fills_what_is_missing(&self) -> bool {
        self.counts.keys().all(|id| self.expression.contains(&format!("FILL({id}, 0)")))
    }

    /// Whether it goes on where there are no values.
    pub(crate) fn is_of_silence(&self) -> bool {
        self.missing == "breaching"
    }

    /// What a value may be without a breach.
    pub(crate) fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The metrics that the rule looks at.
    pub(crate) fn looks_at(&self) -> impl Iterator<Item = &MetricKey> {
        self.counts.values().map(|count| &count.key)
    }

    /// The states at the end of each period until this time, from a state of [`State::Ok`], if values come so many seconds late.
    pub(crate) fn states(&self, metrics: &Metrics, until: u64, late: u64) -> Vec<State> {
        let mut state = State::Ok;
        let mut states = Vec::new();
        for period in 1..=until / self.period {
            let first = period.saturating_sub(self.periods + EARLIER);
            let come = (period * self.period).saturating_sub(late);
            let known = (first..period).rev().filter_map(|period| self.value(metrics, period, come));
            let known: Vec<f64> = known.take(self.periods()).collect();
            let missing = self.periods() - known.len();
            let is_breaching =
                |value: &&f64| if self.above { **value > self.threshold } else { **value < self.threshold };
            let breaching = known.iter().filter(is_breaching).count();
            let is_on = match self.missing.as_str() {
                "breaching" => breaching + missing >= self.breaching,
                "notBreaching" => breaching >= self.breaching,
                // What is missing leaves the state, if it could decide.
                "ignore" if breaching < self.breaching && breaching + missing >= self.breaching => {
                    state == State::Alarm
                }
                "ignore" => breaching >= self.breaching,
                other => panic!("{other}"),
            };
            state = if is_on { State::Alarm } else { State::Ok };
            states.push(state);
        }
        states
    }

    /// The value of the rule's expression in a period, of the values before this time.
    fn value(&self, metrics: &Metrics, period: u64, come: u64) -> Option<f64> {
        let of = |id: &str| {
            let Count { key, statistic } = self.counts.get(id).unwrap_or_else(|| panic!("{id} in {}", self.name));
            let all = metrics.0.get(key).into_iter().flatten();
            let here = all.filter(|(at, _)| at / self.period == period && *at < come);
            let values: Vec<f64> = here.map(|(_, value)| *value).collect();
            let statistic = match statistic.as_str() {
                "SampleCount" => values.iter().map(|_| 1.0).sum(),
                "Sum" => values.iter().sum(),
                "Maximum" => values.iter().copied().fold(f64::MIN, f64::max),
                "Minimum" => values.iter().copied().fold(f64::MAX, f64::min),
                other => panic!("{other}"),
            };
            (!values.is_empty()).then_some(statistic)
        };
        let mut rest = self.expression.as_str();
        let value = sum(&mut rest, &of);
        assert_eq!(rest, "", "all of {} is read", self.expression);
        value
    }
}

/// Takes a token from the start of an expression, if it is there.
fn takes(rest: &mut &str, token: &str) -> bool {
    let Some(after) = rest.trim_start().strip_prefix(token) else { return false };
    *rest = after.trim_start();
    true
}

fn sum(rest: &mut &str, of: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
    let mut value = product(rest, of);
    while takes(rest, "+") {
        value = value.zip(product(rest, of)).map(|(one, other)| one + other);
    }
    value
}

fn product(rest: &mut &str, of: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
    let mut value = factor(rest, of);
    while takes(rest, "*") {
        value = value.zip(factor(rest, of)).map(|(one, other)| one * other);
    }
    value
}

fn factor(rest: &mut &str, of: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
    if takes(rest, "FILL(") {
        let value = sum(rest, of);
        assert!(takes(rest, ",") && takes(rest, "0") && takes(rest, ")"), "{rest}");
        return value.or(Some(0.0));
    }
    if takes(rest, "MAX([") {
        let mut most = sum(rest, of);
        while takes(rest, ",") {
            most = [most, sum(rest, of)].into_iter().flatten().reduce(f64::max);
        }
        assert!(takes(rest, "])"), "{rest}");
        return most;
    }
    if takes(rest, "(") {
        let value = sum(rest, of);
        assert!(takes(rest, ")"), "{rest}");
        return value;
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after.trim_start();
    word.parse().ok().or_else(|| of(word))
}
