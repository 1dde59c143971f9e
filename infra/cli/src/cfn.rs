//! CloudFormation's values: written, read, and worked out for a stage.
//!
//! A value is JSON with the long forms of CloudFormation's functions, such as `{"Ref": "Stage"}`. In a template's text they
//! stand in their short forms, such as `!Ref Stage`.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};
use serde_saphyr::Tagged;
use std::{collections::BTreeMap, fmt};

/// The value of a resource's attribute.
pub fn attribute(resource: &str, attribute: &str) -> Value {
    json!({ "Fn::GetAtt": [resource, attribute] })
}

/// A text with `${...}` in it.
pub fn sub(text: impl Into<String>) -> Value {
    json!({ "Fn::Sub": text.into() })
}

/// A value as it stands in a template's text, on one line.
pub fn inline(value: &Value) -> String {
    match single(value) {
        Some(("Ref", Value::String(name))) => return format!("!Ref {name}"),
        Some(("Fn::Sub", Value::String(text))) => return format!("!Sub {}", quoted(text)),
        Some(("Fn::GetAtt", Value::Array(parts))) => {
            let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
            return format!("!GetAtt {}", parts.join("."));
        }
        _ => {}
    }
    match value {
        Value::String(text) => quoted(text),
        // What holds functions in turn stands in the long forms, which are JSON, and JSON is YAML.
        other => other.to_string(),
    }
}

/// Without quotes where YAML reads it as this text all the same.
fn quoted(text: &str) -> String {
    let starts_plainly = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:${}*@".contains(c);
    let a_word = ["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    if starts_plainly && !a_word && !text.ends_with(':') && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// The only entry of an object that has one.
fn single(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(key, value)| (key.as_str(), value))
}

// ---- Reading ---------------------------------------------------------------------------------------------------------

/// Reads a template's text, with the long forms in place of the short ones.
///
/// # Errors
/// That it is no YAML.
pub fn parse(text: &str) -> Result<Value, serde_saphyr::Error> {
    serde_saphyr::from_str::<Node>(text).map(|node| node.0)
}

/// A value with all of its tags made into functions.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tagged(Untagged(value), tag) = Tagged::deserialize(deserializer)?;
        let function = tag.as_deref().and_then(|tag| tag.strip_prefix('!')).filter(|tag| !tag.is_empty());
        Ok(Self(match (function, value) {
            (None, value) => value,
            (Some("Ref"), value) => json!({ "Ref": value }),
            (Some("Condition"), value) => json!({ "Condition": value }),
            (Some("GetAtt"), Value::String(path)) => {
                let (resource, name) = path.split_once('.').unwrap_or((&path, ""));
                attribute(resource, name)
            }
            (Some(function), value) => json!({ format!("Fn::{function}"): value }),
        }))
    }
}

struct Untagged(Value);

impl<'de> Deserialize<'de> for Untagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of a CloudFormation template")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Node(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(list.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some((key, Node(value))) = entries.next_entry::<String, Node>()? {
                    object.insert(key, value);
                }
                Ok(object.into())
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

// ---- Working out -----------------------------------------------------------------------------------------------------

/// Where a template is worked out for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The stage.
    pub stage: &'a str,
    /// The partition, such as `aws`.
    pub partition: &'a str,
    /// The region.
    pub region: &'a str,
}

/// The account's number where none is known: each has 12 digits.
pub const ACCOUNT: &str = "123456789012";

impl Place<'static> {
    /// A place whose names are the longest that there are.
    pub const LONGEST: Self = Self { stage: "abcdefghij", partition: "aws-us-gov", region: "ap-northeast-1" };
}

/// Works values of a template out, as far as they are known before it is deployed.
#[derive(Clone, Debug)]
pub struct Resolver<'a> {
    resources: &'a Map<String, Value>,
    values: BTreeMap<String, Value>,
}

impl<'a> Resolver<'a> {
    /// For a template in a place, with the defaults of its parameters.
    pub fn new(template: &Value, resources: &'a Map<String, Value>, place: Place<'_>) -> Self {
        let parameters = template.get("Parameters").and_then(Value::as_object);
        let mut values: BTreeMap<String, Value> = parameters
            .into_iter()
            .flatten()
            .filter_map(|(name, parameter)| Some((name.clone(), parameter.get("Default")?.clone())))
            .collect();
        for (name, value) in [
            ("Stage", place.stage),
            ("AWS::Partition", place.partition),
            ("AWS::Region", place.region),
            ("AWS::AccountId", ACCOUNT),
            ("AWS::URLSuffix", "amazonaws.com"),
        ] {
            values.insert(name.to_owned(), value.into());
        }
        Self { resources, values }
    }

    /// A value worked out. What is known only once the template is deployed stands there as `<Name>`.
    pub fn resolve(&self, value: &Value) -> Value {
        match single(value) {
            Some(("Ref", Value::String(name))) => return self.reference(name),
            Some(("Fn::Sub", text)) => return self.sub(text).into(),
            Some(("Fn::GetAtt", Value::Array(parts))) => {
                let part = |place: usize| parts.get(place).and_then(Value::as_str).unwrap_or_default();
                return self.attribute(part(0), part(1)).into();
            }
            Some(("Fn::Select", Value::Array(arguments))) => {
                let place = arguments.first().and_then(|place| usize::try_from(place.as_u64()?).ok());
                let list = arguments.get(1).map(|list| self.resolve(list)).unwrap_or_default();
                return place.and_then(|place| list.get(place)).cloned().unwrap_or_default();
            }
            Some(("Fn::Split", Value::Array(arguments))) => {
                let text = |place| arguments.get(place).map(|value| self.text(value)).unwrap_or_default();
                return text(1).split(&text(0)).map(Value::from).collect();
            }
            _ => {}
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), self.resolve(value))).collect(),
            other => other.clone(),
        }
    }

    /// A value worked out, as text.
    pub fn text(&self, value: &Value) -> String {
        match self.resolve(value) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    fn reference(&self, name: &str) -> Value {
        let named = || self.physical_name(name).map(Value::from);
        let queue = || {
            let url =
                |queue: String| format!("https://sqs.{}.amazonaws.com/{ACCOUNT}/{queue}", self.value("AWS::Region"));
            (self.kind(name) == "AWS::SQS::Queue").then(|| self.physical_name(name).map(url)).flatten().map(Value::from)
        };
        let value = self.values.get(name).cloned();
        value.or_else(queue).or_else(named).unwrap_or_else(|| format!("<{name}>").into())
    }

    fn value(&self, name: &str) -> String {
        self.values.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn sub(&self, value: &Value) -> String {
        let (text, own) = match value {
            Value::Array(parts) => (parts.first().and_then(Value::as_str), parts.get(1)),
            other => (other.as_str(), None),
        };
        let mut whole = String::new();
        let mut rest = text.unwrap_or_default();
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let found = match (own.and_then(|own| own.get(name)), name.split_once('.')) {
                (Some(value), _) => self.text(value),
                (None, Some((resource, attribute))) => self.attribute(resource, attribute),
                (None, None) => self.text(&json!({ "Ref": name })),
            };
            whole.push_str(before);
            whole.push_str(&found);
            rest = after;
        }
        whole + rest
    }

    fn kind(&self, resource: &str) -> &str {
        self.resources.get(resource).and_then(|resource| resource.get("Type")?.as_str()).unwrap_or_default()
    }

    /// The name that a resource has in its service.
    pub fn physical_name(&self, resource: &str) -> Option<String> {
        let (key, ..) = NAMES.iter().find(|(_, kind, ..)| *kind == self.kind(resource))?;
        self.resources.get(resource)?.get("Properties")?.get(key).map(|name| self.text(name))
    }

    fn attribute(&self, resource: &str, attribute: &str) -> String {
        let name = self.physical_name(resource).unwrap_or_else(|| format!("<{resource}>"));
        let arn = |service: &str, rest: String| {
            format!("arn:{}:{service}:{}:{ACCOUNT}:{rest}", self.value("AWS::Partition"), self.value("AWS::Region"))
        };
        match (self.kind(resource), attribute) {
            ("AWS::SQS::Queue", "Arn") => arn("sqs", name),
            ("AWS::SQS::Queue", "QueueName") => name,
            ("AWS::DynamoDB::Table", "Arn") => arn("dynamodb", format!("table/{name}")),
            ("AWS::Lambda::Function", "Arn") => arn("lambda", format!("function:{name}")),
            ("AWS::Logs::LogGroup", "Arn") => arn("logs", format!("log-group:{name}:*")),
            _ => format!("<{resource}.{attribute}>"),
        }
    }
}

/// The property that names a resource, its kind, the longest name, and what a name may have beside letters and digits.
pub const NAMES: [(&str, &str, usize, &str); 7] = [
    ("FunctionName", "AWS::Lambda::Function", 64, "-_"),
    ("QueueName", "AWS::SQS::Queue", 80, "-_"),
    ("TableName", "AWS::DynamoDB::Table", 255, "-_."),
    ("LogGroupName", "AWS::Logs::LogGroup", 512, "-_./#"),
    ("AlarmName", "AWS::CloudWatch::Alarm", 255, "-_. "),
    ("Name", "AWS::Events::Rule", 64, "-_."),
    ("Name", "AWS::ApiGatewayV2::Api", 128, "-_. "),
];

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(json!({"Ref": "Stage"}), "!Ref Stage")]
    #[test_case(attribute("TasksTable", "Arn"), "!GetAtt TasksTable.Arn")]
    #[test_case(sub("${TasksTable.Arn}/index/by_status"), "!Sub \"${TasksTable.Arn}/index/by_status\"")]
    #[test_case(sub("arn:${AWS::Partition}:sqs:::a-*"), "!Sub arn:${AWS::Partition}:sqs:::a-*")]
    #[test_case(json!("dynamodb:Query"), "dynamodb:Query")]
    #[test_case(json!("*"), "\"*\"")]
    #[test_case(json!("Yes"), "\"Yes\"")]
    #[test_case(json!({"Fn::Sub": ["${A}", {"A": {"Ref": "B"}}]}), r#"{"Fn::Sub":["${A}",{"A":{"Ref":"B"}}]}"#)]
    fn what_is_written_is_read_again(value: Value, text: &str) {
        assert_eq!(inline(&value), text);
        assert_eq!(parse(&format!("A: {text}")).unwrap(), json!({ "A": value }));
    }

    #[test]
    fn values_are_worked_out_for_a_stage() {
        let template = parse(
            "Parameters:\n  Stage: {Type: String}\n  Sender: {Type: String, Default: a@b.example}\n\
             Resources:\n  Q: {Type: 'AWS::SQS::Queue', Properties: {QueueName: !Sub 'stepwell-${Stage}-q'}}\n  \
             T: {Type: 'AWS::DynamoDB::Table', Properties: {TableName: t}}",
        )
        .unwrap();
        let resources = template["Resources"].as_object().unwrap();
        let resolver =
            Resolver::new(&template, resources, Place { stage: "dev", partition: "aws", region: "eu-west-1" });
        let text = |text: &str| resolver.text(&parse(text).unwrap());
        assert_eq!(text("!GetAtt Q.Arn"), "arn:aws:sqs:eu-west-1:123456789012:stepwell-dev-q");
        assert_eq!(text("!Sub '${T.Arn}/index/*'"), "arn:aws:dynamodb:eu-west-1:123456789012:table/t/index/*");
        assert_eq!(
            text("!Select [0, !Split [-dev-, !Ref Q]]"),
            "https://sqs.eu-west-1.amazonaws.com/123456789012/stepwell"
        );
        assert_eq!(text("!Sub ['at ${D}', {D: !Select [1, !Split ['@', !Ref Sender]]}]"), "at b.example");
        assert_eq!(text("!Ref Unknown"), "<Unknown>");
    }
}
