//! What the functions' roles grant, compared with the calls that the functions have made.
//!
//! The emulator evaluates the roles and records each call (`infra/emulator/sitecustomize.py`). A denied call is a missing
//! right; a right that no call has needed is one too many. A right names one action and one resource. It may hold a pattern
//! only where the template cannot name the resource: for the log streams of a log group, for event source mappings, and for the queues of one
//! workflow, because any of its workers may be the one that advances a task.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use wildmatch::WildMatch;

/// What a role grants to a function: an action on a resource. In both, `*` and `?` make a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The function's full name.
    pub function: String,
    /// Such as `sqs:SendMessage`; IAM does not tell small letters from capitals.
    pub action: String,
    /// An ARN.
    pub resource: String,
    /// The functions whose event source mappings it is for: a pattern of their ARNs, from the condition. `None` if there is no such condition.
    pub of_functions: Option<String>,
}

/// A call that a function has made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The function's full name.
    pub function: String,
    /// Such as `sqs:SendMessage`.
    pub action: String,
    /// The ARN of what it was about.
    pub resource: String,
    /// Whether the role allowed it.
    pub allowed: bool,
}

/// What is wrong with a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The function has made a call that needs this.
    Missing(Right),
    /// No function has made a call for which it needs this.
    Unused(Right),
    /// It is a pattern, where the calls needed no more than these, which could be named.
    TooWide(Right, BTreeSet<Right>),
}

impl Right {
    fn covers(&self, call: &Call) -> bool {
        self.function == call.function
            && WildMatch::new_case_insensitive(&self.action).matches(&call.action)
            && WildMatch::new(&self.resource).matches(&call.resource)
    }

    /// Whether it names one action and one resource, or is a pattern of resources that the template cannot name.
    fn is_narrow(&self) -> bool {
        let exact = |text: &str| !text.contains(['*', '?']);
        let parts: Vec<_> = self.resource.split(':').collect();
        let resource = match parts[..] {
            ["arn", partition, "logs", region, account, "log-group", group, "*"]
                if [partition, region, account].into_iter().all(exact) =>
            {
                group
            }
            // stepwell-STAGE-WORKFLOW-*. The name of a workflow that was shortened has another hyphen.
            ["arn", partition, "sqs", region, account, queue]
                if [partition, region, account].into_iter().all(exact) =>
            {
                queue.strip_suffix("-*").filter(|workflow| workflow.split('-').count() > 2).unwrap_or(queue)
            }
            // AWS makes the names of mappings. A condition says of whose functions, which the emulator evaluates.
            ["arn", partition, "lambda", region, account, "event-source-mapping", "*"]
                if [partition, region, account].into_iter().all(exact) && self.is_of_steps() =>
            {
                ""
            }
            // AWS lists mappings for all functions or none.
            ["*"] if self.action.eq_ignore_ascii_case("lambda:ListEventSourceMappings") => "",
            _ => &self.resource,
        };
        exact(&self.action) && exact(resource)
    }

    /// Whether its condition names the functions of the steps of one stage, stepwell-STAGE-*-*, and no others.
    fn is_of_steps(&self) -> bool {
        let exact = |text: &str| !text.contains(['*', '?']);
        let functions: Vec<_> = self.of_functions.iter().flat_map(|pattern| pattern.split(':')).collect();
        let ["arn", partition, "lambda", region, account, "function", name] = functions[..] else { return false };
        let stack = name.strip_suffix("-*-*").unwrap_or_default();
        stack.contains('-') && [partition, region, account, stack].into_iter().all(exact)
    }
}

impl Call {
    /// The least that allows it.
    fn right(&self) -> Right {
        let Self { function, action, resource, .. } = self.clone();
        Right { function, action, resource, of_functions: None }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(Right { function, action, resource, .. }) => {
                write!(
                    f,
                    "{function} lacks {action} on {resource}: grant it in infra/settings.yaml, or, what every step needs, in infra/cli/src/model.rs"
                )
            }
            Self::Unused(Right { function, action, resource, .. }) => write!(
                f,
                "{function} has {action} on {resource}, which no run has needed: take it away, or write the scenario that needs it"
            ),
            Self::TooWide(Right { function, action, resource, .. }, needed) => {
                let needed: Vec<_> =
                    needed.iter().map(|Right { action, resource, .. }| format!("{action} on {resource}")).collect();
                write!(f, "{function} has {action} on {resource}: name what it needs, {}", needed.join(", "))
            }
        }
    }
}

/// What is missing, and what is too much.
///
/// Calls of functions that no right names are those of another stack on the emulator; of them only what was denied counts.
pub fn compare(rights: &BTreeSet<Right>, calls: &BTreeSet<Call>) -> Vec<Finding> {
    let functions: BTreeSet<_> = rights.iter().map(|right| &right.function).collect();
    let granted = |call: &Call| !functions.contains(&call.function) || rights.iter().any(|right| right.covers(call));
    let missing = calls.iter().filter(|call| !(call.allowed && granted(call))).map(Call::right);
    let missing: BTreeSet<_> = missing.collect();

    let too_much = rights.iter().filter_map(|right| {
        let calls = calls.iter().filter(|call| call.allowed && right.covers(call));
        let needed: BTreeSet<_> = calls.map(Call::right).collect();
        if needed.is_empty() {
            Some(Finding::Unused(right.clone()))
        } else {
            (!right.is_narrow()).then(|| Finding::TooWide(right.clone(), needed))
        }
    });
    missing.into_iter().map(Finding::Missing).chain(too_much).collect()
}

/// The calls in the emulator's record.
pub fn recorded(record: &str) -> Result<BTreeSet<Call>, String> {
    let call = |line: &str| {
        let fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let [function, action, resource, decision] =
            <[String; 4]>::try_from(fields).map_err(|_| format!("not four fields: {line}"))?;
        let allowed = match decision.as_str() {
            "allowed" => true,
            "denied" => false,
            _ => return Err(format!("neither allowed nor denied: {line}")),
        };
        Ok(Call { function, action, resource: of_any_stack(&resource), allowed })
    };
    record.lines().map(call).collect()
}

/// The calls that Lambda makes with a function's role, which the emulator makes without asking for the right to them: it
/// fetches the messages of each mapping and writes the logs.
///
/// From what `aws lambda list-functions` and `list-event-source-mappings` print.
pub fn of_lambda(functions: &Value, mappings: &Value) -> BTreeSet<Call> {
    const RECEIVING: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
    const LOGGING: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
    let call = |function: &str, action: &str, resource: &str| Call {
        function: function.to_owned(),
        action: action.to_owned(),
        resource: resource.to_owned(),
        allowed: true,
    };
    let mut calls = BTreeSet::new();
    for mapping in list(mappings, "EventSourceMappings") {
        let function = text(mapping, "FunctionArn").rsplit(':').next().unwrap();
        calls.extend(RECEIVING.map(|action| call(function, action, text(mapping, "EventSourceArn"))));
    }
    for function in list(functions, "Functions") {
        let arn: Vec<_> = text(function, "FunctionArn").split(':').collect();
        let [_, partition, _, region, account, ..] = arn[..] else { panic!("not an ARN: {}", arn.join(":")) };
        let group = text(&function["LoggingConfig"], "LogGroup");
        let stream = format!("arn:{partition}:logs:{region}:{account}:log-group:{group}:log-stream:a-stream");
        calls.extend(LOGGING.map(|action| call(text(function, "FunctionName"), action, &stream)));
    }
    calls
}

/// What the roles of the functions grant.
///
/// From what `aws iam get-account-authorization-details` and `aws lambda list-functions` print.
pub fn granted(roles: &Value, functions: &Value) -> Result<BTreeSet<Right>, String> {
    let roles: BTreeMap<_, _> = list(roles, "RoleDetailList").iter().map(|role| (text(role, "Arn"), role)).collect();
    let mut rights = BTreeSet::new();
    for function in list(functions, "Functions") {
        let (name, arn) = (text(function, "FunctionName"), text(function, "Role"));
        let role = roles.get(arn).ok_or_else(|| format!("there is no role {arn}, which {name} has"))?;
        let managed = list(role, "AttachedManagedPolicies");
        if !managed.is_empty() {
            return Err(format!("{arn} has managed policies, which are not looked into here: {managed:?}"));
        }
        for policy in list(role, "RolePolicyList") {
            for statement in several(&policy["PolicyDocument"]["Statement"]) {
                if statement["Effect"] != "Allow" || statement["Action"].is_null() || statement["Resource"].is_null() {
                    return Err(format!("{arn} has a statement that does not simply allow actions: {statement}"));
                }
                let of_functions = statement["Condition"]["ArnLike"]["lambda:FunctionArn"].as_str().map(str::to_owned);
                for action in several(&statement["Action"]) {
                    for resource in several(&statement["Resource"]) {
                        let [action, resource] = [action, resource].map(|value| value.as_str().expect("a text"));
                        let (function, action) = (name.to_owned(), action.to_owned());
                        let (resource, of_functions) = (of_any_stack(resource), of_functions.clone());
                        rights.insert(Right { function, action, resource, of_functions });
                    }
                }
            }
        }
    }
    Ok(rights)
}

/// The resource without what differs between stacks of one template: Secrets Manager ends the ARN of a secret in a hyphen and
/// six random characters. The calls of two stacks are compared with the rights of one of them.
fn of_any_stack(resource: &str) -> String {
    let secret = |arn: &&str| arn.split(':').nth(2) == Some("secretsmanager");
    let stem = Some(resource).filter(secret).and_then(|arn| arn.rsplit_once('-')).filter(|(_, end)| end.len() == 6);
    stem.map_or(resource, |(stem, _)| stem).to_owned()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("there is no list {name} in {value}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("there is no text {name} in {value}"))
}

/// In a policy one value may stand without a list around it.
fn several(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use test_case::test_case;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:1:shop-pay";

    fn right(action: &str, resource: &str) -> Right {
        let (function, action, resource) = ("pay".to_owned(), action.to_owned(), resource.to_owned());
        Right { function, action, resource, of_functions: None }
    }

    fn call(action: &str, resource: &str) -> Call {
        Call { function: "pay".to_owned(), action: action.to_owned(), resource: resource.to_owned(), allowed: true }
    }

    fn found(rights: &[Right], calls: &[Call]) -> Vec<Finding> {
        compare(&rights.iter().cloned().collect(), &calls.iter().cloned().collect())
    }

    #[test_case("sqs:SendMessage", QUEUE, true; "word for word")]
    #[test_case("SQS:sendmessage", QUEUE, true; "an action in other letters")]
    #[test_case("sqs:Send*", QUEUE, true; "an action with a star")]
    #[test_case("sqs:SendMessageBatch", QUEUE, false; "a longer action")]
    #[test_case("sqs:Send", QUEUE, false; "a shorter action")]
    #[test_case("sqs:SendMessage", "*", true; "any resource")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:shop-*", true; "a star at the end")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:*:1:shop-pay", true; "a star in the middle")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-?:1:shop-pay", true; "a question mark")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:shop-pay?", false; "a question mark for nothing")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:shop-pay*", true; "a star for nothing")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:shop-PAY", false; "a resource in other letters")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:shop", false; "the beginning of a resource")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us.east.1:1:shop-pay", false; "a dot is a dot")]
    fn a_right_covers(action: &str, resource: &str, covers: bool) {
        assert_eq!(right(action, resource).covers(&call("sqs:SendMessage", QUEUE)), covers);
    }

    #[test]
    fn a_secret_is_the_same_in_each_stack() {
        let line = |secret: &str| {
            format!("pay\tsecretsmanager:GetSecretValue\tarn:aws:secretsmanager:us-east-1:1:secret:{secret}\tallowed")
        };
        let [ours, same, other] = ["shop-Keys-15a8b3", "shop-Keys-f37428", "shop-Other-f37428"]
            .map(|secret| recorded(&line(secret)).unwrap());
        assert_eq!(ours, same);
        assert_ne!(ours, other);
        let queue = recorded(&format!("pay\tsqs:SendMessage\t{QUEUE}-f37428\tallowed")).unwrap();
        assert!(queue.iter().all(|call| call.resource.ends_with("f37428")), "only a secret has such an end");
    }

    #[test]
    fn a_table_does_not_include_its_indexes() {
        let query = call("dynamodb:Query", "arn:aws:dynamodb:us-east-1:1:table/tasks/index/by_status");
        assert!(!right("dynamodb:Query", "arn:aws:dynamodb:us-east-1:1:table/tasks").covers(&query));
        assert!(right("dynamodb:Query", "arn:aws:dynamodb:us-east-1:1:table/tasks/index/*").covers(&query));
    }

    #[test]
    fn what_is_granted_and_needed_is_no_finding() {
        let log = "arn:aws:logs:us-east-1:1:log-group:/aws/lambda/pay:";
        let rights = [right("sqs:SendMessage", QUEUE), right("logs:PutLogEvents", &format!("{log}*"))];
        let calls = [call("sqs:SendMessage", QUEUE), call("logs:PutLogEvents", &format!("{log}log-stream:a"))];
        assert_eq!(found(&rights, &calls), []);
    }

    #[test]
    fn a_call_without_a_right_is_found() {
        let send = call("sqs:SendMessage", QUEUE);
        let found = found(&[right("sqs:DeleteMessage", QUEUE)], std::slice::from_ref(&send));
        assert_eq!(found, [Finding::Missing(send.right()), Finding::Unused(right("sqs:DeleteMessage", QUEUE))]);
    }

    #[test]
    fn a_call_that_a_condition_denies_is_found_and_needs_no_right() {
        let denied = Call { allowed: false, ..call("ses:SendEmail", "arn:aws:ses:us-east-1:1:identity/a@b.c") };
        let send = right("ses:SendEmail", &denied.resource);
        assert_eq!(
            found(std::slice::from_ref(&send), std::slice::from_ref(&denied)),
            [Finding::Missing(send.clone()), Finding::Unused(send)]
        );
    }

    #[test]
    fn a_call_that_was_denied_in_one_run_and_allowed_in_another_is_found_once() {
        let allowed = call("sqs:SendMessage", QUEUE);
        let calls = [Call { allowed: false, ..allowed.clone() }, allowed.clone()];
        let other = right("sqs:DeleteMessage", QUEUE);
        let rights = [Finding::Missing(allowed.right()), Finding::Unused(other.clone())];
        assert_eq!(found(&[other], &calls), rights);
    }

    #[test]
    fn a_right_of_another_function_does_not_count() {
        let other = Right { function: "ship".to_owned(), ..right("sqs:SendMessage", QUEUE) };
        let rights = [right("sqs:SendMessage", QUEUE), other.clone()];
        assert_eq!(found(&rights, &[call("sqs:SendMessage", QUEUE)]), [Finding::Unused(other)]);
    }

    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-shop-pay", true; "one queue")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-shop-*", true; "the queues of a workflow")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-a_shop-3f4c5d-*", true; "a workflow with a shortened name")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-*", false; "the queues of all workflows")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-*-shop-*", false; "the queues of all stages")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-shop-p*", false; "some queues of a workflow")]
    #[test_case("sqs:SendMessage", "arn:aws:sqs:*:1:stepwell-local-shop-pay", false; "a queue in any region")]
    #[test_case("logs:PutLogEvents", "arn:aws:logs:us-east-1:*:log-group:/aws/lambda/pay:*", false; "a log of any account")]
    #[test_case("sqs:*", "arn:aws:sqs:us-east-1:1:stepwell-local-shop-pay", false; "all actions")]
    #[test_case("logs:PutLogEvents", "arn:aws:logs:us-east-1:1:log-group:/aws/lambda/pay:*", true; "the streams of a log")]
    #[test_case("logs:PutLogEvents", "arn:aws:logs:us-east-1:1:log-group:/aws/lambda/*:*", false; "the streams of all logs")]
    #[test_case("dynamodb:Query", "arn:aws:dynamodb:us-east-1:1:table/tasks/index/by_status", true; "an index")]
    #[test_case("dynamodb:Query", "arn:aws:dynamodb:us-east-1:1:table/tasks/index/*", false; "all indexes")]
    #[test_case("dynamodb:Query", "arn:aws:dynamodb:us-east-1:1:table/task?", false; "a question mark")]
    #[test_case("lambda:UpdateEventSourceMapping", "arn:aws:lambda:us-east-1:1:event-source-mapping:*", false; "the mappings of all functions")]
    #[test_case("lambda:ListEventSourceMappings", "*", true; "what AWS grants for all functions or none")]
    #[test_case("lambda:UpdateEventSourceMapping", "*", false; "any mapping")]
    #[test_case("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:1:function:*", false; "all functions")]
    #[test_case("ses:SendEmail", "*", false; "anything")]
    fn a_right_is_narrow(action: &str, resource: &str, narrow: bool) {
        assert_eq!(right(action, resource).is_narrow(), narrow);
    }

    #[test]
    fn a_pattern_is_needed_when_one_call_falls_within_it_and_is_found_where_that_could_be_named() {
        let queues = right("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-shop-*");
        let sent = call("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-shop-pay");
        assert_eq!(found(std::slice::from_ref(&queues), std::slice::from_ref(&sent)), []);

        let all = right("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:stepwell-local-*");
        let needed = BTreeSet::from([sent.right()]);
        assert_eq!(found(&[queues, all.clone()], &[sent]), [Finding::TooWide(all, needed)]);
    }

    #[test_case("1", "function:stepwell-dev-*-*", true; "the steps of a stage")]
    #[test_case("*", "function:stepwell-dev-*-*", false; "the mappings of any account")]
    #[test_case("1", "function:stepwell-dev-*", false; "all functions of a stage")]
    #[test_case("1", "function:stepwell-*-*", false; "the functions of all stages")]
    #[test_case("1", "function:*", false; "all functions")]
    fn a_right_to_mappings_is_narrow(account: &str, functions: &str, narrow: bool) {
        let mapping = format!("arn:aws:lambda:us-east-1:{account}:event-source-mapping:*");
        let of_functions = Some(format!("arn:aws:lambda:us-east-1:1:{functions}"));
        let right = Right { of_functions, ..right("lambda:UpdateEventSourceMapping", &mapping) };
        assert_eq!(right.is_narrow(), narrow);
    }

    #[test]
    fn another_stack_s_calls_count_when_they_were_denied() {
        let theirs = Call { function: "theirs".to_owned(), ..call("sqs:SendMessage", QUEUE) };
        let rights = [right("sqs:SendMessage", QUEUE)];
        assert_eq!(found(&rights, &[theirs.clone(), call("sqs:SendMessage", QUEUE)]), []);
        let denied = Call { allowed: false, ..theirs };
        assert_eq!(
            found(&rights, &[denied.clone(), call("sqs:SendMessage", QUEUE)]),
            [Finding::Missing(denied.right())]
        );
    }

    #[test]
    fn a_record_is_read() {
        let denied = Call { allowed: false, ..call("sqs:DeleteMessage", QUEUE) };
        let record = format!("pay\tsqs:SendMessage\t{QUEUE}\tallowed\npay\tsqs:DeleteMessage\t{QUEUE}\tdenied\n");
        assert_eq!(recorded(&record), Ok(BTreeSet::from([call("sqs:SendMessage", QUEUE), denied])));
        assert!(recorded("pay\tsqs:SendMessage\n").is_err());
        assert!(recorded("pay\tsqs:SendMessage\tqueue\tperhaps\n").is_err());
    }

    fn function() -> Value {
        json!({"Functions": [{
            "FunctionName": "pay", "FunctionArn": "arn:aws:lambda:us-east-1:1:function:pay", "Role": "arn:aws:iam::1:role/payer",
            "LoggingConfig": {"LogGroup": "/aws/lambda/pay"},
        }]})
    }

    fn role(statement: &Value) -> Value {
        json!({"RoleDetailList": [{
            "Arn": "arn:aws:iam::1:role/payer", "AttachedManagedPolicies": [],
            "RolePolicyList": [{"PolicyName": "all", "PolicyDocument": {"Statement": statement}}],
        }]})
    }

    #[test]
    fn a_statement_is_a_right_for_each_action_on_each_resource() {
        let allow = json!([
            {"Effect": "Allow", "Action": ["a:A", "a:B"], "Resource": ["r", "s"]},
            {"Effect": "Allow", "Action": "a:C", "Resource": "r"},
        ]);
        let rights = ["a:A r", "a:A s", "a:B r", "a:B s", "a:C r"];
        let rights = rights.iter().map(|words| words.split_once(' ').map(|(action, on)| right(action, on)).unwrap());
        assert_eq!(granted(&role(&allow), &function()), Ok(rights.collect()));
    }

    #[test]
    fn a_condition_says_of_whose_functions_the_mappings_are() {
        let allow = json!({
            "Effect": "Allow", "Action": "a:A", "Resource": "r", "Condition": {"ArnLike": {"lambda:FunctionArn": "f-*"}},
        });
        let right = Right { of_functions: Some("f-*".to_owned()), ..right("a:A", "r") };
        assert_eq!(granted(&role(&allow), &function()), Ok(BTreeSet::from([right])));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for statement in [
            json!({"Effect": "Deny", "Action": "a:A", "Resource": "r"}),
            json!({"Effect": "Allow", "NotAction": "a:A", "Resource": "r"}),
            json!({"Effect": "Allow", "Action": "a:A", "NotResource": "r"}),
        ] {
            assert!(granted(&role(&statement), &function()).is_err(), "{statement}");
        }
        let mut managed = role(&json!([]));
        managed["RoleDetailList"][0]["AttachedManagedPolicies"] = json!([{"PolicyName": "AdministratorAccess"}]);
        assert!(granted(&managed, &function()).is_err());
        assert!(granted(&json!({"RoleDetailList": []}), &function()).is_err());
    }

    #[test]
    fn lambda_fetches_messages_and_writes_logs_with_the_function_s_role() {
        let mappings = json!({"EventSourceMappings": [
            {"EventSourceArn": QUEUE, "FunctionArn": "arn:aws:lambda:us-east-1:1:function:pay"},
        ]});
        let stream = "arn:aws:logs:us-east-1:1:log-group:/aws/lambda/pay:log-stream:a-stream";
        let calls = [
            call("sqs:ReceiveMessage", QUEUE),
            call("sqs:DeleteMessage", QUEUE),
            call("sqs:GetQueueAttributes", QUEUE),
            call("logs:CreateLogStream", stream),
            call("logs:PutLogEvents", stream),
        ];
        assert_eq!(of_lambda(&function(), &mappings), BTreeSet::from(calls));
    }
}
