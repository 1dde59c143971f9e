use super::*;
use crate::core::names::workflow_name;
use serde_json::json;

const DIAMOND: &str = r"
name: diamond
namespace_name: shapes
version: 2.1.0
description: Two ways to the same end
task_handler_class: Diamond::TaskHandler
default_dependent_system: somewhere
schema:
  type: object
  required: [email, items]
  properties:
    email: { type: string, format: email }
    items: { type: array, minItems: 1, items: { type: object, required: [id], properties: { id: { type: integer, minimum: 1 } } } }
    priority: { enum: [standard, express] }
step_templates:
  - name: d
    depends_on_steps: [b, c]
  - name: a
    handler_class: Diamond::A
    handler_config:
      timeout_seconds: 15
      url: https://example.com
  - name: b
    depends_on_step: a
    default_retry_limit: 5
    backoff: { base_seconds: 2, jitter: 0 }
  - name: c
    depends_on_step: a
    default_retryable: false
adjustments:
  - when: { /priority: express }
    steps:
      a: { timeout_seconds: 5 }
      b: { max_attempts: 2 }
";

fn refusal(text: &str) -> String {
    Workflow::from_yaml(text).unwrap_err().to_string()
}

#[test]
fn tasker_file_is_read_unchanged() {
    let workflow = Workflow::from_yaml(DIAMOND).unwrap();
    assert_eq!(workflow.id().to_string(), "shapes/diamond@2.1.0");
    assert_eq!(workflow.description(), "Two ways to the same end");
    let plan = workflow.plan();
    assert_eq!(plan.steps().iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let (a, b, c, d) =
        (plan.step("a").unwrap(), plan.step("b").unwrap(), plan.step("c").unwrap(), plan.step("d").unwrap());
    assert_eq!((a.max_attempts, a.timeout_seconds), (3, 15));
    assert_eq!((b.max_attempts, b.timeout_seconds, b.backoff.base_seconds), (5, 30, 2));
    assert_eq!(c.max_attempts, 1, "not retryable: the first attempt is the last");
    assert_eq!(d.depends_on, ["b", "c"]);
}

#[test]
fn workflow_name_is_the_name_in_its_id() {
    for namespace in ["default", "shop/eu", "a.b+c-d"] {
        let id =
            WorkflowId { namespace: namespace.to_owned(), name: "check-out_2".to_owned(), version: "1.0/b".to_owned() };
        assert_eq!(workflow_name(&id.to_string()), id.name);
    }
}

#[test]
fn largest_limits_of_attempts_are_accepted() {
    let workflow = Workflow::from_yaml(
        "name: x\nstep_templates: [{name: a, default_retry_limit: 50}]\n\
         adjustments: [{when: {/p: 1}, steps: {a: {max_attempts: 50}}}]",
    );
    assert_eq!(workflow.unwrap().plan().steps()[0].max_attempts, Plan::MAX_ATTEMPTS);
}

#[test]
fn every_violation_is_reported_with_its_path() {
    let workflow = Workflow::from_yaml(DIAMOND).unwrap();
    assert_eq!(workflow.validate(&json!({"email": "a@example.com", "items": [{"id": 1}]})), Ok(()));
    let violations =
        workflow.validate(&json!({"email": "nobody", "items": [{"id": 1}, {"id": 0}, {}], "priority": "slow"}));
    let paths: Vec<String> = violations.unwrap_err().into_iter().map(|violation| violation.path).collect();
    assert_eq!(paths.len(), 4, "{paths:?}");
    for path in ["/email", "/items/1/id", "/items/2", "/priority"] {
        assert!(paths.iter().any(|found| found == path), "{path} is not among {paths:?}");
    }
    assert_eq!(workflow.validate(&json!("text")).unwrap_err().first().unwrap().path, "");
}

#[test]
fn custom_format_is_checked_and_its_message_does_not_show_the_value() {
    const SHOUTED: TextFormat = TextFormat {
        name: "shouted",
        check: |text| if text.ends_with('!') { Ok(()) } else { Err("has to end with !".to_owned()) },
    };
    let file = "name: x\nstep_templates: [{name: a}]\nschema:\n  propertyNames: {format: shouted}\n  \
        additionalProperties: {type: [string, integer], format: shouted}";
    let workflow = Workflow::from_yaml_with_formats(file, &[SHOUTED]).unwrap();
    assert_eq!(workflow.validate(&json!({"a!": "secret!", "b!": 5})), Ok(()));
    let refused = |path: &str| {
        let message = "value has to end with !".to_owned();
        Err(vec![Violation { path: path.to_owned(), message }])
    };
    assert_eq!(workflow.validate(&json!({"a!": "secret"})), refused("/a!"));
    assert_eq!(workflow.validate(&json!({"a": "secret!"})), refused(""), "a property's name has no path of its own");
}

#[test]
fn step_and_compensation_say_which_service_they_wait_on() {
    let file = |service: &str| {
        format!(
            "name: x\nstep_templates: [{{name: a, waits_on: {service}, compensation: {{name: u, waits_on: mail}}}}, {{name: b}}]"
        )
    };
    let workflow = Workflow::from_yaml(&file("gateway")).unwrap();
    assert_eq!(["a", "u", "b"].map(|step| workflow.waits_on(step)), [Some("gateway"), Some("mail"), None]);
    assert_eq!(workflow.needed_services(), ["gateway"].into(), "a compensation is not needed for a task to complete");
    let optional =
        "{name: x, step_templates: [{name: a}, {name: b, depends_on_step: a, optional: true, waits_on: mail}]}";
    let optional = Workflow::from_yaml(optional).unwrap();
    assert_eq!((optional.waits_on("b"), optional.breaker_of("b")), (Some("mail"), None));
    let refusal = refusal(&file("'the gateway'"));
    assert!(refusal.contains("step `a` has `waits_on: the gateway`"), "{refusal}");
}

#[test]
fn unknown_format_is_refused() {
    let refusal = refusal("name: x\nstep_templates: [{name: a}]\nschema: {format: e-mail}");
    assert!(refusal.contains("`schema` is not a JSON Schema") && refusal.contains("e-mail"), "{refusal}");
}

#[test]
fn adjustment_changes_the_plan_of_matching_tasks_only() {
    let workflow = Workflow::from_yaml(DIAMOND).unwrap();
    let limits = |context: Value| {
        let plan = workflow.plan_for(&context);
        (plan.step("a").unwrap().timeout_seconds, plan.step("b").unwrap().max_attempts)
    };
    assert_eq!(limits(json!({"priority": "standard"})), (15, 5));
    assert_eq!(limits(json!({})), (15, 5));
    assert_eq!(limits(json!({"priority": "express"})), (5, 2));
}

#[test]
fn invalid_workflow_file_is_refused_with_the_reason() {
    let cases = [
        ("name: x\nstep_templates: [", "not YAML"),
        ("- a", "the file has to be a mapping of keys to values"),
        ("step_templates: [{name: a}]", "missing field `name`"),
        ("name: ''\nstep_templates: [{name: a}]", "`name` is ``, but has to be 1 to 48 letters"),
        (
            "name: a.b\nstep_templates: [{name: a}]",
            "`name` is `a.b`, but has to be 1 to 48 letters, digits, `_` or `-`",
        ),
        ("name: x\nnamespace_name: a#b\nstep_templates: [{name: a}]", "`namespace_name` is `a#b`, but has to be"),
        ("name: x", "there are no steps"),
        ("name: x\nstep_templates: {name: a}", "`step_templates` has to be a list"),
        ("name: x\nstep_templates: [{name: a}, {description: b}]", "step 2 of `step_templates` has no name"),
        ("name: x\nstep_templates: [{name: a}, {name: a}]", "there are two steps named `a`"),
        ("name: x\nstep_templates: [{name: a, depends_on_step: b}]", "step `a` depends on `b`, which is not a step"),
        (
            "name: x\nstep_templates: [{name: a, depends_on_step: b}, {name: b, depends_on_step: a}]",
            "cycle: a -> b -> a",
        ),
        (
            "name: x\nstep_templates: [{name: a, depend_on_step: b}]",
            "step `a` has an unknown key `depend_on_step`; did you mean `depends_on_step`?",
        ),
        (
            "name: x\nstep_templates: [{name: a, handler_config: {timeout_second: 3}}]",
            "`handler_config` of step `a` has an unknown key `timeout_second`; did you mean `timeout_seconds`?",
        ),
        ("name: x\nstep_templates: [{name: a, colour: red}]", "step `a` has an unknown key `colour`; known are `name`"),
        ("name: x\nshema: {}\nstep_templates: [{name: a}]", "unknown key `shema`; did you mean `schema`?"),
        (
            "name: x\nstep_templates: [{name: a, backoff: {base_second: 1}}]",
            "`backoff` of step `a` has an unknown key `base_second`; did you mean `base_seconds`?",
        ),
        (
            "name: x\nstep_templates: [{name: a, backoff: {max_seconds: 99999}}]",
            "step `a` has a bad `backoff`: max_seconds is 99999",
        ),
        ("name: x\nstep_templates: [{name: a, default_retry_limit: 0}]", "step `a`: the limit of attempts is 0"),
        (
            "name: x\nstep_templates: [{name: a, default_retry_limit: 51}]",
            "step `a` has `default_retry_limit: 51`, but at most 50 attempts are allowed",
        ),
        ("name: x\nstep_templates: [{name: a, default_retry_limit: -1}]", "step `a`: "),
        ("name: x\nstep_templates: [{name: a, default_retry_limit: often}]", "step `a`: "),
        ("name: x\nschema: {type: nonsense}\nstep_templates: [{name: a}]", "`schema` is not a JSON Schema"),
        (
            "name: x\nstep_templates: [{name: a}]\nadjustments: [{when: {/p: 1}, steps: {b: {max_attempts: 1}}}]",
            "adjustment 1: step `b` is not a step of this workflow",
        ),
        (
            "name: x\nstep_templates: [{name: pay}]\nadjustments: [{when: {/p: 1}, steps: {pays: {max_attempts: 1}}}]",
            "adjustment 1: step `pays` is not a step of this workflow; did you mean `pay`?",
        ),
        (
            "name: x\nstep_templates: [{name: check_fraud}, {name: pay, depends_on_step: check_fraus}]",
            "step `pay` depends on `check_fraus`, which is not a step of this workflow; did you mean `check_fraud`?",
        ),
        (
            "name: x\nstep_templates: [{name: a}]\nadjustments: [{when: {p: 1}, steps: {}}]",
            "adjustment 1: `when` has `p`, which is not a JSON pointer; write `/p`",
        ),
        (
            "name: x\nstep_templates: [{name: a}]\nadjustments: [{when: {/p: 1}, steps: {a: {timeout_seconds: 31}}}]",
            "step `a` gets a timeout of 31 s, longer than its own 30 s",
        ),
        (
            "name: x\nstep_templates: [{name: a}]\nadjustments: [{when: {/p: 1}, steps: {a: {max_attempts: 51}}}]",
            "step `a` gets `max_attempts: 51`, but at most 50 are allowed",
        ),
    ];
    for (text, expected) in cases {
        let message = refusal(text);
        assert!(message.contains(expected), "for\n{text}\nexpected `{expected}`\nfound    `{message}`");
    }
}

const REFUND: &str = r"
name: shop
compensate: on_error
compensate_after_seconds: 900
step_templates:
  - name: pay
    compensation: { name: refund, description: back }
  - name: ship
    depends_on_step: pay
";

#[test]
fn compensation_is_not_a_step_of_the_dag() {
    let workflow = Workflow::from_yaml(REFUND).unwrap();
    let plan = workflow.plan();
    assert_eq!(plan.steps().iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["pay", "ship"]);
    let refund = plan.compensation_of("pay").unwrap();
    assert_eq!((refund.name.as_str(), refund.timeout_seconds), ("refund", 30));
    assert!(refund.allows_attempt(u32::MAX), "a compensation has no last attempt");
    assert_eq!(plan.compensates_failure_after(), Some(std::time::Duration::from_secs(900)));
    assert!(plan.compensates_cancellation());
    let manual = REFUND.replace("on_error", "manual").replace("compensate_after_seconds: 900", "");
    let plan = Workflow::from_yaml(&manual).unwrap().plan().clone();
    assert_eq!((plan.compensates_failure_after(), plan.compensates_cancellation()), (None, false));
}

#[test]
fn after_of_a_compensation_is_read() {
    let after = |more: &str| {
        let undo_ship = "depends_on_step: pay\n    compensation: { name: call_back }";
        let file = REFUND
            .replace("depends_on_step: pay", undo_ship)
            .replace("name: refund,", &format!("name: refund, {more}"));
        let workflow = Workflow::from_yaml(&file).unwrap();
        let graph = workflow.plan().compensation_graph(|_| true);
        graph.into_iter().find(|compensation| compensation.name == "refund").unwrap().depends_on
    };
    assert_eq!(after(""), ["call_back"]);
    assert_eq!(after("after: [call_back],"), ["call_back"]);
    assert_eq!(after("after: [],"), [""; 0]);
}

#[test]
fn optional_compensation_has_a_last_attempt() {
    let refund = |more: &str| {
        let file = REFUND.replace("name: refund,", &format!("name: refund, optional: true{more},"));
        let plan = Workflow::from_yaml(&file).unwrap().plan_for(&json!({"p": 1}));
        plan.compensation_of("pay").unwrap().clone()
    };
    let usual = refund("");
    assert_eq!((usual.optional, usual.max_attempts), (true, 3), "as of a step");
    assert_eq!([3, 4].map(|counted| usual.allows_attempt(counted)), [true, false]);
    assert_eq!(refund(", default_retry_limit: 7").max_attempts, 7);
    assert_eq!(refund(", default_retryable: false").max_attempts, 1);
    let adjusted = "adjustments: [{when: {/p: 1}, steps: {refund: {max_attempts: 2}}}]\nstep_templates:";
    let file = REFUND.replace("name: refund,", "name: refund, optional: true,").replace("step_templates:", adjusted);
    let plan = Workflow::from_yaml(&file).unwrap().plan_for(&json!({"p": 1}));
    assert_eq!(plan.compensation_of("pay").unwrap().max_attempts, 2);
}

#[test]
fn redrives_are_read_and_checked() {
    let with = |redrives: u32| REFUND.replace("step_templates", &format!("redrives: {redrives}\nstep_templates"));
    let workflow = Workflow::from_yaml(&with(1)).unwrap();
    let waits = [0, 1].map(|so_far| workflow.plan().redrive_delay(so_far).map(|wait| wait.as_secs()));
    assert_eq!(waits, [Some(60), None]);
    assert_eq!(Workflow::from_yaml(REFUND).unwrap().plan().redrive_delay(0), None);
    assert!(refusal(&with(11)).contains("`redrives` is 11, but a task can have at most 10"));
}

#[test]
fn search_keys_are_read_from_the_context_and_from_results() {
    let search = "search: {email: /customer/email, charge: {step: pay, at: /id}, refund_id: {step: refund, at: ''}}";
    let workflow = Workflow::from_yaml(&format!("{search}\n{REFUND}")).unwrap();
    assert_eq!(workflow.search_names(), ["charge", "email", "refund_id"].into());
    assert_eq!(workflow.search_keys().names().collect::<Vec<_>>(), ["email"]);
    let of = |step: &str| workflow.plan().search_keys_of(step).map(|keys| keys.names().collect::<Vec<_>>());
    assert_eq!([of("pay"), of("ship"), of("refund")], [Some(vec!["charge"]), None, Some(vec!["refund_id"])]);
    let plan = serde_json::to_string(&workflow.plan_for(&json!({}))).unwrap();
    assert!(plan.contains(r#""k":{"pay":{"charge":"/id"},"refund":{"refund_id":""}}"#), "{plan}");
    assert_eq!(serde_json::from_str::<Plan>(&plan).unwrap(), *workflow.plan());
    assert_eq!(Workflow::from_yaml(REFUND).unwrap().search_names(), [].into());
}

#[test]
fn secret_fields_of_results_are_kept_with_the_plan_and_not_shown() {
    let file = REFUND.replace("name: pay", "name: pay\n    secret: [/card/last, /by]");
    let file = file
        .replace("name: refund,", "name: refund, secret: [''],")
        .replace("name: ship", "name: ship\n    secret: []");
    let workflow = Workflow::from_yaml(&file).unwrap();
    let plan = serde_json::to_string(&workflow.plan_for(&json!({}))).unwrap();
    assert!(plan.contains(r#""h":{"pay":["/by","/card/last"],"refund":[""]}"#), "{plan}");
    let plan: Plan = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan, *workflow.plan());
    let shown = |step: &str, result: &str| plan.shown_result(step, result).into_owned();
    let hidden = r#"{"amount":100.00,"card":{"kind":"visa","last":"***"}}"#;
    assert_eq!(shown("pay", r#"{"amount": 100.00, "card": {"kind": "visa", "last": {"a": 1}}}"#), hidden);
    assert_eq!(shown("pay", r#"{"by": null}"#), r#"{"by":null}"#, "who has none has none to hide");
    assert_eq!([shown("refund", "5"), shown("pay", "{"), shown("ship", "{ }")], [r#""***""#, r#""***""#, "{ }"]);
}

#[test]
fn secret_fields_of_the_context_are_not_shown_and_named() {
    let workflow = Workflow::from_yaml(&format!("secret: [/card/token, /by]\n{REFUND}")).unwrap();
    let shown = |context: &str| {
        let (shown, hidden) = workflow.shown_context(context);
        (shown.to_string(), hidden.join(" "))
    };
    let of = |shown: &str, hidden: &str| (shown.to_owned(), hidden.to_owned());
    let hidden = of(r#"{"amount":100.00,"card":{"token":"***"}}"#, "/card/token");
    assert_eq!(shown(r#"{"amount": 100.00, "card": {"token": {"a": 1}}}"#), hidden);
    assert_eq!(shown(r#"{"by":null}"#), of(r#"{"by":null}"#, ""), "who has none has none to hide");
    assert_eq!(shown("{").0, r#""***""#);
    let open = Workflow::from_yaml(REFUND).unwrap();
    assert_eq!(open.shown_context(r#"{"by":1}"#), (json!({"by": 1}), vec![]));
}

#[test]
fn invalid_secret_of_the_context_is_refused() {
    let file = DIAMOND.replace("task_handler_class", "secret: SECRET\ntask_handler_class");
    let cases = [
        ("/email", "`secret` has to be a list of JSON pointers into the context"),
        ("[email]", "`secret` is wrong: `email` is not a JSON pointer; write `/email`"),
        (
            "[/emial]",
            "`secret` has an entry whose `/emial` is not in `schema`: it has no property `emial` there; did you mean `email`?",
        ),
    ];
    for (secret, problem) in cases {
        let said = refusal(&file.replace("SECRET", secret));
        assert!(said.contains(problem), "{secret}: {said}");
    }
}

#[test]
fn invalid_secret_is_refused_with_its_step() {
    let refused = |secret: &str| refusal(&REFUND.replace("name: refund,", &format!("name: refund, secret: {secret},")));
    let cases = [
        ("/iban", "`secret` of step `refund` has to be a list of JSON pointers into its result"),
        ("[/iban, 5]", "`secret` of step `refund` has an entry that is not a text"),
        ("[iban]", "`secret` of step `refund` is wrong: `iban` is not a JSON pointer; write `/iban`"),
    ];
    for (secret, problem) in cases {
        let said = refused(secret);
        assert!(said.contains(problem), "{secret}: {said}");
    }
}

#[test]
fn invalid_search_key_is_refused_with_its_name() {
    let schema = "schema: {properties: {customer: {properties: {email: {}}}, address: {}}}";
    let refused = |search: &str| refusal(&format!("search: {search}\n{schema}\n{REFUND}"));
    let open = "schema: {properties: {customer: {}}, allOf: [{properties: {address: {}}}]}";
    for schema in [schema, open] {
        Workflow::from_yaml(&format!("search: {{zip: /address/zip}}\n{schema}\n{REFUND}")).unwrap();
    }
    let cases = [
        ("[email]", "`search` has to be a mapping"),
        (
            "{a: /a, b: /b, c: /c, d: /d, e: /e, f: /f}",
            "`search` has 6 keys, but each is a write of every task: at most 5",
        ),
        ("{e-mail: /customer/email}", "`search` has `e-mail`, but a name has 1 to 32 letters, digits or `_`"),
        (
            "{email: customer/email}",
            "`search` has `email`, whose `customer/email` is not a JSON pointer; write `/customer/email`",
        ),
        ("{zip: /address/~zip}", "whose `/address/~zip` is not a JSON pointer; write `~0` for `~`"),
        ("{email: /customer/emial}", "it has no property `emial` there; did you mean `email`?"),
        ("{email: /costumer/email}", "it has no property `costumer` there; did you mean `customer`?"),
        ("{charge: {step: pai, at: /id}}", "whose step `pai` is not a step of this workflow; did you mean `pay`?"),
        ("{charge: {step: pay}}", "`search` has `charge`, which needs a `step` and `at`"),
        ("{charge: {step: pay, att: /id}}", "`charge` of `search` has an unknown key `att`; did you mean `at`?"),
        ("{charge: 7}", "`search` has `charge`, which has to be a JSON pointer into the context, or a `step` and `at`"),
    ];
    for (search, expected) in cases {
        let message = refused(search);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn deadline_is_read_and_checked() {
    let with = |keys: &str| format!("{keys}\n{REFUND}\n  - {{name: tell, depends_on_step: pay, optional: true}}");
    let workflow = Workflow::from_yaml(&with("complete_within_seconds: 60\npoint_of_no_return: pay")).unwrap();
    let times = ["pay", "ship", "refund"].map(|step| workflow.plan().time_to_start(step).map(|time| time.as_secs()));
    assert_eq!(times, [Some(60), None, None]);
    let cases = [
        ("complete_within_seconds: 0", "`complete_within_seconds` is 0, but has to be 1 to 2592000"),
        ("complete_within_seconds: 2592001", "`complete_within_seconds` is 2592001, but has to be 1 to 2592000"),
        ("complete_within_second: 60", "unknown key `complete_within_second`; did you mean `complete_within_seconds`?"),
        ("point_of_no_return: pay", "`point_of_no_return` has no effect without `complete_within_seconds`"),
        (
            "complete_within_seconds: 60\npoint_of_no_return: shop",
            "`point_of_no_return` is `shop`, which is not a step of this workflow; did you mean `ship`?",
        ),
        (
            "complete_within_seconds: 60\npoint_of_no_return: tell",
            "`point_of_no_return` is `tell`, which is optional, so the task may complete without it",
        ),
    ];
    for (keys, expected) in cases {
        let message = refusal(&with(keys));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn invalid_compensation_is_refused_with_its_name() {
    let with = |from: &str, to: &str| refusal(&REFUND.replace(from, to));
    let cases = [
        (
            with("name: refund,", "name: refund, depends_on_step: ship,"),
            "workflow file: compensation `refund` has an unknown key `depends_on_step`; known are",
        ),
        (
            with("name: refund,", "name: refund, default_retry_limit: 20,"),
            "workflow file: the compensation of step `pay` has `default_retry_limit`, but a compensation has no last attempt",
        ),
        (
            with("name: refund,", "name: refund, default_retryable: false,"),
            "workflow file: the compensation of step `pay` has `default_retryable`, but a compensation has no last attempt",
        ),
        (
            with(
                "step_templates:",
                "adjustments: [{when: {/p: 1}, steps: {refund: {max_attempts: 2}}}]\nstep_templates:",
            ),
            "workflow file: adjustment 1: compensation `refund` gets `max_attempts`, but it has no last attempt",
        ),
        (
            with("name: refund,", "name: refund, after: [pay],"),
            "workflow file: compensation `refund` waits for `pay`, which is a step; `after` takes the names of other",
        ),
        (
            with("name: refund,", "name: refund, after: ship,"),
            "workflow file: `after` of the compensation of step `pay`: invalid type: string \"ship\", expected a sequence",
        ),
        (with("name: refund,", ""), "workflow file: the compensation of step `pay` has no name"),
        (with("name: refund,", "name: ship,"), "workflow file: there are two steps named `ship`"),
        (with("compensate: on_error", "compensate: never"), "workflow file: the workflow: unknown variant `never`"),
        (
            with("compensate: on_error", "compensate: manual"),
            "workflow file: `compensate_after_seconds` has no effect without `compensate: on_error`; remove it",
        ),
        (
            with("900", "2592001"),
            "workflow file: `compensate_after_seconds` is 2592001, but a failed task can wait at most 2592000",
        ),
    ];
    for (message, expected) in cases {
        assert!(message.starts_with(expected), "{message}");
    }
}
