//! Describes the routes for the API's OpenAPI document, `openapi.json`. A test writes it, and holds the router and the answers of all
//! other tests to it.

use crate::{
    act::Accepted,
    analytics::{AnalyticsView, SAMPLE},
    bulk::{BulkList, BulkView, DryRun, MOST_EXPECTED, ResultList},
    copy::Copying,
    handlers::SEARCH_KEYS,
    health::{HealthView, Probe},
    list::TaskList,
    pause::StepStanding,
    rerun::Rerunning,
    resend::Resent,
    reveal::Revealed,
    ship::Shipped,
    show::TaskView,
    workflows::WorkflowList,
};
use expect_test::expect_file;
use http_api::{
    Wait,
    openapi::{Contract, Document, Operation},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::LazyLock};
use stepwell::{
    Actor, BulkAction, MOST_SAMPLED, Pace,
    core::{graph::Graph, state::TaskStatus},
};

/// What the answers of all tests are held to.
pub(crate) static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::of(crate::OPENAPI));

/// The reason of an action, for the audit trail.
fn reason() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": Actor::MAX_WHY, "pattern": r"^[^\u0000-\u001F\u007F-\u009F]+$",
        "description": "Why, for the audit trail.",
    })
}

/// A field that may be missing, for which `null` counts as well.
fn optional(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) if fields.contains_key("enum") => {
            if let Some(Value::Array(values)) = fields.get_mut("enum") {
                values.push(Value::Null);
            }
        }
        schema => schema["type"] = json!([schema["type"], "null"]),
    }
    schema
}

/// A body with a reason, with these other fields, of which some are required.
fn because(others: Value, required: &[&str]) -> Value {
    let mut body = json!({"type": "object", "additionalProperties": false, "properties": others});
    body["properties"]["reason"] = reason();
    body["required"] = ["reason"].iter().chain(required).copied().collect();
    body
}

/// The fields of a filter, with what each means.
fn filter() -> Vec<(&'static str, Value, &'static str)> {
    let text = || json!({"type": "string", "minLength": 1});
    let time = || json!({"type": "string", "format": "date-time"});
    let step = json!({"type": "string", "pattern": "^[^:]+:(in_progress|retrying|complete|error|cancelled|resolved_manually)$"});
    vec![
        (
            "status",
            json!({"enum": TaskStatus::WORDS.map(TaskStatus::as_str)}),
            "The status; `in_progress` is listed as `pending`.",
        ),
        ("workflow", text(), "The workflow: its name, or more of `namespace/name@version`."),
        ("failed_step", text(), "A step that failed for good."),
        ("error_code", text(), "The code of the error of such a step."),
        ("step", step, "`NAME:STATE`, such as `process_payment:retrying`: the tasks with a step in this state."),
        ("compensated", json!({"type": "boolean"}), "Whether the task has been compensated, which closes it."),
        (
            "needs",
            json!({"enum": ["person"]}),
            "The task waits for a person, and the engine does nothing more about it.",
        ),
        ("created_from", time(), "Started at this time or later."),
        ("created_before", time(), "Started before this time."),
        (
            "older_than",
            json!({"type": "string", "pattern": "^[0-9]{1,9}[smhd]$"}),
            "Started before this long ago, such as `2h`.",
        ),
    ]
}

/// Describes `POST` to a path of a task: an action of an operator.
fn action<'a>(document: &'a mut Document, act: &str, id: &str, summary: &str) -> Operation<'a> {
    let path = format!("/tasks/{{task_id}}/{act}");
    let body = because(json!({}), &[]);
    document
        .operation(("post", &path), id, "tasks", summary)
        .body(true, body, &[("a reason", json!({"reason": "the gateway is back"}))])
        .answers::<Accepted>(202, "It was done, and is on record.")
        .refused(404)
        .refused(409)
}

fn describe() -> Document {
    let root = json!({
        "info": {
            "title": "Stepwell: operators",
            "version": concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR")),
            "description": "Lists, inspects and repairs workflow tasks, ships orders and sends their e-mail again. Each action has a \
                reason, which the audit trail keeps with the operator's name. On AWS requests are signed (SigV4), or carry a token of the \
                stack's issuer; on one machine they carry the token of the shop's folder, and the header `X-Operator` may name the \
                operator.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "security": [{"token": []}, {"signature": []}],
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "signature": {
                    "type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4",
                    "description": "A request to AWS, signed for `execute-api` with SigV4.",
                },
            },
        },
        "tags": [
            {"name": "tasks", "description": "Workflow tasks."},
            {"name": "bulk actions", "description": "Actions on all tasks that match a filter."},
            {"name": "orders", "description": "The orders that checkouts make."},
            {"name": "workflows", "description": "The workflows, and the pauses of their steps."},
            {"name": "about", "description": "The deployment as a whole. On AWS `/openapi.json` is the customers' API's, and this document is at `/tasks/openapi.json`."},
        ],
    });
    let mut document = Document::new(root, [400, 401, 403, 500, 503]);
    tasks(&mut document);
    bulk_actions(&mut document);
    orders(&mut document);
    about(&mut document);
    document
}

fn about(document: &mut Document) {
    let step =
        json!({"workflow": "$response.body#/workflows/0/name", "step": "$response.body#/workflows/0/steps/0/name"});
    document
        .operation(("get", "/workflows"), "listWorkflows", "workflows", "Shows the workflows of this deployment.")
        .answers::<WorkflowList>(200, "The workflows, as their files say, with the pauses of their steps.")
        .link(200, "pauseStep", step.clone())
        .link(200, "resumeStep", step);
    let paused = "Pauses a step, so that after some seconds no attempt of it begins.";
    let seen = json!({
        "type": ["string", "null"], "format": "date-time",
        "description": "The time of the newest pause that is to end: `since` of the last reason that was shown. If somebody paused the step after it, nothing \
                        is done. Without it all of its pauses end.",
    });
    let acts = [
        ("pause", "pauseStep", paused, json!({})),
        ("resume", "resumeStep", "Lets a paused step go on.", json!({ "seen": seen })),
    ];
    for (act, id, summary, fields) in acts {
        let path = format!("/workflows/{{workflow}}/steps/{{step}}/{act}");
        document
            .operation(("post", &path), id, "workflows", summary)
            .description(
                "It is safe to repeat. An attempt whose message was delivered before comes to its end. The messages of a paused step wait in its \
                 queue, and the deadlines of their tasks go on.",
            )
            .body(true, because(fields, &[]), &[("a reason", json!({"reason": "the gateway is down"}))])
            .answers::<StepStanding>(202, "How the step stands now.")
            .refused(404)
            .refused(409);
    }
    document
        .operation(("get", "/health/status"), "showHealth", "about", "Counts how the open tasks stand.")
        .answers::<HealthView>(200, "The numbers.");
    let analytics = document
        .operation(("get", "/analytics"), "showAnalytics", "about", "Computes figures of the newest tasks.")
        .query(
            "tasks",
            json!({"type": "integer", "minimum": 1, "maximum": MOST_SAMPLED, "default": SAMPLE}),
            "The most tasks in the sample.",
        );
    filter()
        .into_iter()
        .filter(|(name, ..)| ["workflow", "created_from", "created_before"].contains(name))
        .fold(analytics, |analytics, (name, schema, what)| analytics.query(name, schema, what))
        .answers::<AnalyticsView>(200, "The figures.")
        .refused(422);
    for (path, id) in [("/openapi.json", "showOpenApi"), ("/tasks/openapi.json", "showOpenApiBehindGateway")] {
        document.operation(("get", path), id, "about", "Shows this document.").answers_with(
            200,
            "The document.",
            "application/json",
            json!({"type": "object"}),
        );
    }
    document
        .operation(
            ("get", "/health/live"),
            "isLive",
            "about",
            "Says that the program runs. On one machine it needs no token.",
        )
        .open_to_all()
        .answers::<Probe>(200, "It runs.");
    document
        .operation(
            ("get", "/health/ready"),
            "isReady",
            "about",
            "Says that the store answers. On one machine it needs no token.",
        )
        .open_to_all()
        .answers::<Probe>(200, "It answers.");
}

fn tasks(document: &mut Document) {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50});
    let key = json!({"type": "string", "pattern": format!("^({}):.*[^ ].*$", SEARCH_KEYS.join("|"))});
    let list = document
        .operation(("get", "/tasks"), "listTasks", "tasks", "Lists the tasks that match a query.")
        .description(
            "Without a filter about how tasks stand the newest come first; otherwise they come by status, and then in any order. The \
             list is eventually consistent; a task is found by a key as soon as it is started.",
        );
    let list = filter().into_iter().fold(list, |list, (name, schema, what)| list.query(name, schema, what));
    let task = json!({"task_id": "$response.body#/tasks/0/task_id"});
    let list = list
        .query("key", key, "`NAME:VALUE`: the tasks that have this value of a search key. Then the order is `newest`.")
        .query("order", json!({"enum": ["newest", "status"]}), "The order of the list.")
        .query("limit", limit, "The most tasks on the page.")
        .query("next", json!({"type": "string", "minLength": 1}), "The `next` of the page before.")
        .answers::<TaskList>(200, "A page of the list.")
        .refused(422);
    ["showTask", "showTaskGraph"].into_iter().fold(list, |list, next| list.link(200, next, task.clone()));

    let task = json!({"task_id": "$response.body#/task_id"});
    let step = json!({"task_id": "$response.body#/task_id", "step": "$response.body#/steps/0/name"});
    let order = json!({"order_id": "$response.body#/task_id"});
    let show = document
        .operation(("get", "/tasks/{task_id}"), "showTask", "tasks", "Shows a whole task, without its input.")
        .answers::<TaskView<'_>>(200, "The task.")
        .link(200, "resolveStep", step)
        .link(200, "shipOrder", order.clone())
        .link(200, "resendEmail", order)
        .refused(404);
    [
        "showTaskGraph",
        "followTask",
        "redriveTask",
        "revealTask",
        "runTaskNow",
        "retryTask",
        "cancelTask",
        "compensateTask",
        "resolveTask",
        "rerunTask",
    ]
    .into_iter()
    .fold(show, |show, next| show.link(200, next, task.clone()));
    document
        .operation(("get", "/tasks/{task_id}/graph"), "showTaskGraph", "tasks", "Shows the graph of a task.")
        .query("format", json!({"enum": ["json", "mermaid"], "default": "json"}), "The form of the graph.")
        .answers::<Graph>(200, "The graph, in the form that was asked for.")
        .answers_with(200, "The graph, in the form that was asked for.", "text/vnd.mermaid", json!({"type": "string"}))
        .refused(404)
        .refused(422);

    let seconds = json!({"type": "integer", "minimum": 0, "maximum": Wait::MAX_SECONDS, "default": Wait::MAX_SECONDS});
    // Readers of this document differ in what the schema is of: each event, or the text of all.
    let event = json!({"description": "`id: ` and a hash, and `data: ` and the task as JSON."});
    document
        .operation(
            ("get", "/tasks/{task_id}/events"),
            "followTask",
            "tasks",
            "Tells of a task when it has changed, as server-sent events.",
        )
        .description(
            "An event is the task as `showTask` shows it, and its id is a hash of that. The answer ends with its first event, and the client asks \
             again.",
        )
        .query("wait", seconds, "How many seconds to wait for a change, before the answer ends without an event.")
        .header("Last-Event-ID", json!({"type": "string"}), "The id of the event that was seen last. Without it the task is told at once.")
        .answers_with(200, "The event, or none if the wait is over.", "text/event-stream", event)
        .answers_nothing(204, "That event was the last one: nothing follows by itself.")
        .refused(404)
        .refused(422);

    document
        .operation(
            ("post", "/tasks/{task_id}/reveal"),
            "revealTask",
            "tasks",
            "Shows what a task was started with, which may have personal data.",
        )
        .description(
            "It changes nothing. Each look is logged with the operator's name. What the workflow file declares as secret is not shown. On a \
             stack it needs the scope `tasks.reveal`, or the right on its own route.",
        )
        .answers::<Revealed>(200, "The input.")
        .refused(404)
        .refused(409);
    action(document, "redrive", "redriveTask", "Gives the failed steps a fresh set of attempts.");
    action(document, "run-now", "runTaskNow", "Makes the attempts at once that wait for their time.");
    action(document, "retry", "retryTask", "Does what `redrive` does: its old name, until version 0.3.");
    action(document, "cancel", "cancelTask", "Starts no new step, and compensates the attempted ones.");
    action(document, "compensate", "compensateTask", "Compensates the attempted steps, and closes the task.");
    action(document, "resolve", "resolveTask", "Declares the task done.");
    rerun(document);
    copy(document);
    let fields = json!({
        "result": {"description": "The step's result, of the type that its dependents read."},
        "attempts_checked": optional(json!({
            "type": "boolean", "description": "Whether no attempt of the step had an effect, or it is undone.",
        })),
    });
    let example = json!({"result": {"payment_id": "pay_1"}, "attempts_checked": true, "reason": "charged by hand"});
    document
        .operation(
            ("post", "/tasks/{task_id}/steps/{step}/resolve"),
            "resolveStep",
            "tasks",
            "Completes a step that was done by hand; its dependents run.",
        )
        .body(true, because(fields, &["result"]), &[("a payment", example)])
        .answers::<Accepted>(202, "It was done, and is on record.")
        .refused(404)
        .refused(409);
}

fn rerun(document: &mut Document) {
    let again = "Whether a task is rerun whose effects stand or may stand, or that was cancelled. The customer of a complete one is charged once more.";
    let fields = json!({
        "patch": {"description": "A JSON merge patch (RFC 7396) of the task's input, without what was secret in it: a checkout needs a \
            new card."},
        "input": {"description": "The whole new input, in the place of a patch. The paths of violations lead into it in both cases."},
        "again": optional(json!({"type": "boolean", "default": false, "description": again})),
        "from": optional(json!({"type": "string", "description": "The step at which the new task begins. It keeps the results \
            of those before and beside it, which were made of the old input. The workflow must have no compensations. Without it the new task runs whole."})),
    });
    let mut body = because(fields, &[]);
    body["not"] = json!({"required": ["patch", "input"]});
    let card =
        json!({"patch": {"payment_info": {"token": "test_success_visa"}}, "reason": "the customer has another card"});
    let task = json!({"task_id": "$response.body#/task_id"});
    document
        .operation(
            ("post", "/tasks/{task_id}/rerun"),
            "rerunTask",
            "tasks",
            "Starts a task that has come to its end once more, as a new task.",
        )
        .description(
            "A task is rerun once, and nothing of it runs afterwards; its rerun may be rerun. The request may be repeated, and starts one \
             task only.",
        )
        .body(true, body, &[("another card", card)])
        .answers::<Rerunning>(200, "The same request was made before, and has started this task.")
        .answers::<Rerunning>(202, "The new task is started.")
        .link(202, "showTask", task)
        .refused(404)
        .refused(409);
}

fn copy(document: &mut Document) {
    let fields = json!({
        "patch": {"description": "A JSON merge patch (RFC 7396) of the task's input, without what was secret in it: a checkout needs a \
            card."},
        "input": {"description": "The whole new input, in the place of a patch. The paths of violations lead into it in both cases."},
    });
    let mut body = because(fields, &[]);
    body["properties"]["reason"]["description"] = json!("Why, for the log.");
    body["not"] = json!({"required": ["patch", "input"]});
    let card =
        json!({"patch": {"payment_info": {"token": "test_success_visa"}}, "reason": "the same once more, by phone"});
    document
        .operation(("post", "/tasks/{task_id}/copy"), "copyTask", "tasks", "Starts a task like this one.")
        .description("This task stays as it is, and may be copied in any state and any number of times: each copy of a checkout charges its card.")
        .needs_header(
            "Idempotency-Key",
            json!({"type": "string", "pattern": "^[!-~]{1,255}$"}),
            "With it the request may be repeated, and starts one task.",
        )
        .body(true, body, &[("another card", card)])
        .answers::<Copying>(202, "The new task is started, now or by the same request before.")
        .link(202, "showTask", json!({"task_id": "$response.body#/task_id"}))
        .refused(404)
        .refused(409);
}

fn bulk_actions(document: &mut Document) {
    let fields = filter().into_iter().map(|(name, mut schema, what)| {
        schema["description"] = json!(what);
        (name, optional(schema))
    });
    let filter = json!({
        "type": "object", "minProperties": 1, "additionalProperties": false,
        "properties": fields.collect::<BTreeMap<_, _>>(),
        "description": "Which tasks. By default it is for the status that the action is for.",
    });
    let count =
        json!({"type": "integer", "minimum": 1, "maximum": MOST_EXPECTED, "description": "The count of a dry run."});
    let fields = json!({
        "action": {"enum": BulkAction::ALL.map(BulkAction::as_str)},
        "filter": filter,
        "dry_run": optional(json!({"type": "boolean", "default": true})),
        "expected_count": optional(count),
        "or_more": optional(json!({
            "type": "boolean", "default": false, "description": "Nothing is counted, and any number of tasks is acted on.",
        })),
        "pace": optional(json!({"type": "integer", "minimum": 1, "maximum": Pace::MAX, "description": "Tasks a minute."})),
    });
    let filter = json!({"status": "error", "error_code": "GATEWAY_TEMPORARY_FAILURE"});
    let dry = json!({"action": "redrive", "filter": filter, "reason": "the gateway is back"});
    let wet = json!({
        "action": "redrive", "filter": filter, "dry_run": false, "expected_count": 200, "reason": "the gateway is back",
    });
    let bulk_id = json!({"bulk_id": "$response.body#/bulk_id"});
    document
        .operation(
            ("post", "/tasks/bulk"),
            "startBulkAction",
            "bulk actions",
            "Counts the matching tasks, or starts to act on them.",
        )
        .description("Without `\"dry_run\": false` it only counts. To act it needs the `expected_count` of a dry run.")
        .header(
            "Idempotency-Key",
            json!({"type": "string", "pattern": "^[!-~]{1,255}$"}),
            "With it the request may be repeated, and starts one bulk action.",
        )
        .body(true, because(fields, &["action", "filter"]), &[("a dry run", dry), ("the same", wet)])
        .answers::<DryRun>(200, "How many tasks match, and some of them.")
        .answers::<BulkView>(202, "The bulk action has begun.")
        .link(202, "showBulkAction", bulk_id.clone())
        .link(202, "listBulkResults", bulk_id.clone())
        .link(202, "stopBulkAction", bulk_id)
        .refused(409);
    document
        .operation(
            ("get", "/tasks/bulk"),
            "listBulkActions",
            "bulk actions",
            "Lists the bulk actions of the last 90 days.",
        )
        .answers::<BulkList>(200, "The newest come first.")
        .link(200, "showBulkAction", json!({"bulk_id": "$response.body#/bulk_actions/0/bulk_id"}));
    document
        .operation(("get", "/tasks/bulk/{bulk_id}"), "showBulkAction", "bulk actions", "Shows a bulk action.")
        .answers::<BulkView>(200, "The bulk action.")
        .refused(404);
    let path = ("get", "/tasks/bulk/{bulk_id}/results");
    document
        .operation(
            path,
            "listBulkResults",
            "bulk actions",
            "Lists what became of each task, in the order in which it was reached.",
        )
        .query("next", json!({"type": "string", "pattern": "^[0-9]{1,9}$"}), "The `next` of the part before.")
        .answers::<ResultList>(200, "A part of the results.")
        .refused(404)
        .refused(422);
    let path = ("post", "/tasks/bulk/{bulk_id}/stop");
    document
        .operation(
            path,
            "stopBulkAction",
            "bulk actions",
            "Stops a bulk action. Tasks that it has not reached stay as they are.",
        )
        .body(true, because(json!({}), &[]), &[("a reason", json!({"reason": "the wrong tasks"}))])
        .answers::<BulkView>(202, "The bulk action, which stops.")
        .refused(404)
        .refused(409);
}

fn orders(document: &mut Document) {
    let path = ("post", "/orders/{order_id}/ship");
    document
        .operation(
            path,
            "shipOrder",
            "orders",
            "Says that an order was handed over. From then on it cannot be cancelled.",
        )
        .body(true, because(json!({}), &[]), &[("a reason", json!({"reason": "handed to the carrier"}))])
        .answers::<Shipped>(200, "The order is shipped; a repeated request does not change it.")
        .refused(404)
        .refused(409);
    let path = ("post", "/orders/{order_id}/resend");
    let fields = json!({
        "email": optional(json!({
            "type": "string", "format": "email", "description": "A corrected address, which becomes the order's.",
        })),
    });
    document
        .operation(path, "resendEmail", "orders", "Sends the customer the e-mail about an order again.")
        .description("Whenever it is refused with 502 or 503, the e-mail may have been sent all the same.")
        .body(
            true,
            because(fields, &[]),
            &[("another address", json!({"reason": "a typo", "email": "ann@example.com"}))],
        )
        .answers::<Resent>(200, "The e-mail was sent.")
        .refused(404)
        .refused(409)
        .refused(502);
}

#[test]
fn document_is_written_from_the_types() {
    expect_file!["../openapi.json"].assert_eq(&describe().finish());
}

#[test]
fn document_has_every_route() {
    let router = crate::tests::Api::new().router();
    assert_eq!(http_api::openapi::routes(&router), describe().routes());
}
