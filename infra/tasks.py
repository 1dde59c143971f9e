"""What infra/tasks.sh does: asks the operators' API at a URL.

usage: tasks.py URL COMMAND ...; infra/tasks.sh --help says the rest
"""

import argparse
import json
import os
import pathlib
import sys
import time

import botocore.auth
import botocore.awsrequest
import botocore.exceptions
import botocore.session

from api import Api, Refused, quote

FILTER = ["status", "workflow", "failed_step", "error_code", "compensated", "needs", "created_from", "created_before", "older_than"]
# A list goes on in this many tasks at a time.
PAGE = 200
# The progress of a bulk action is asked for each few seconds; the engine carries it on each minute.
LOOK_EACH = 5


def main():
    options = parse()
    try:
        options.run(Api(options.url, authorize), options)
    except botocore.exceptions.BotoCoreError as error:
        sys.exit(f"tasks: {error}. Set AWS_PROFILE, log in, or pass --token")
    except Refused as refused:
        if options.json and refused.answer is not None:
            print_json(refused.answer)
        sys.exit(f"tasks: {refused}")


def authorize(method, url, body, headers):
    """With a token, or a signature by the AWS credentials of the environment."""
    if token := os.environ.get("STEPWELL_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    session = botocore.session.get_session()
    credentials, region = session.get_credentials(), session.get_config_variable("region")
    if credentials is None:
        raise Refused("there are no AWS credentials. Set AWS_PROFILE, log in, or pass --token")
    if region is None:
        raise Refused("there is no AWS region. Set AWS_REGION, or pass --region")
    request = botocore.awsrequest.AWSRequest(method, url, data=body, headers=headers)
    botocore.auth.SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)
    return dict(request.headers)


# ---- The command line --------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"tasks: {message}. See infra/tasks.sh --help\n")


def parse():
    """Each command takes what it needs, and nothing that it would pass over."""
    everywhere, filters, changes = (Parser(add_help=False, allow_abbrev=False) for _ in range(3))
    everywhere.add_argument("--json", action="store_true")
    for name in FILTER:
        filters.add_argument("--" + name.replace("_", "-"))
    changes.add_argument("--reason", required=True)

    parser = Parser(add_help=False)
    parser.add_argument("url")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def command(name, run, *parents, aliases=()):
        added = commands.add_parser(name, aliases=aliases, parents=[everywhere, *parents], add_help=False, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    command("list", list_tasks, filters).add_argument("--limit", type=positive)
    command("show", show).add_argument("task")
    for name in ("redrive", "cancel", "compensate"):
        # The older name goes with version 0.3.0, as that of the API does.
        aliases = ["retry"] if name == "redrive" else []
        one_or_many = command(name, act_on_one_or_many, filters, aliases=aliases)
        one_or_many.add_argument("--reason")
        one_or_many.add_argument("task", nargs="?")
        one_or_many.add_argument("--dry-run", action="store_true")
        one_or_many.add_argument("--yes", action="store_true")
        one_or_many.add_argument("--pace", type=positive)
    command("bulk", bulk).add_argument("bulk", nargs="?")
    command("results", results).add_argument("bulk")
    command("stop", stop, changes).add_argument("bulk")
    command("resolve", act, changes).add_argument("task")
    command("ship", ship, changes).add_argument("order")
    resends = command("resend", resend, changes)
    resends.add_argument("order")
    resends.add_argument("--email")
    resolves = command("resolve-step", resolve_step, changes)
    resolves.add_argument("task")
    resolves.add_argument("step")
    resolves.add_argument("--result", required=True)
    resolves.add_argument("--attempts-checked", action="store_true")

    options = parser.parse_args()
    options.filter = {name: value for name in FILTER if (value := getattr(options, name, None)) is not None}
    if options.run is act_on_one_or_many:
        if options.command == "retry":
            options.command = "redrive"
        if (options.task is None) == (not options.filter):
            parser.error(f"{options.command} takes the id of a task, or a filter: --status error is all that failed")
        if options.task and (options.dry_run or options.yes or options.pace):
            parser.error("--dry-run, --yes and --pace are for many tasks")
        if not options.reason and not options.dry_run:
            parser.error("the following arguments are required: --reason")
    return options


def positive(text):
    if (number := int(text)) < 1:
        raise ValueError
    return number


# ---- The commands ------------------------------------------------------------------------------------------------------


def list_tasks(api, options):
    tasks = find(api, options.filter, options.limit)
    if options.json:
        print_json({"tasks": tasks, "count": len(tasks)})
        return
    print_tasks(tasks, sys.stdout)
    print(counted(len(tasks), "task"), file=sys.stderr)


def waits_for(step):
    """Until when and why a step waits for its next attempt. It may have had none: its service is out."""
    if step["status"] != "retrying":
        return ""
    error = step["error"]
    why = f"  {error['code']}: {error['message']}" if error else ""
    return f"  until {step['next_retry_at']}{why}" if step.get("next_retry_at") else why


def print_tasks(tasks, file):
    for task in tasks:
        failed = f"  failed: {', '.join(task['failed_steps'])}" if task["failed_steps"] else ""
        closed = "  compensated" if task["compensated"] else "  needs a person" if task["needs_person"] else ""
        row = f"{task['task_id']}  {task['created_at']}  {task['status']:<17}  {task['workflow']}{failed}{closed}"
        print(row, file=file)


def find(api, filters, limit=None):
    """The tasks that fit, the oldest first; where there are more than the limit, any of them."""
    tasks, place = [], {}
    while place is not None and (limit is None or len(tasks) < limit):
        page = min(PAGE, limit - len(tasks)) if limit else PAGE
        answer = api.get("/tasks", {**filters, "limit": str(page), **place})
        tasks += answer["tasks"]
        place = {"next": answer["next"]} if answer["next"] else None
    return sorted(tasks, key=lambda task: task["created_at"])


def show(api, options):
    task = api.get(f"/tasks/{quote(options.task)}")
    if options.json:
        # As it came, because a result's numbers are kept to the digit.
        print(api.text)
        return
    closed = ", compensated: closed for good" if task["compensated"] else ""
    for heading, text in (
        ("task", task["task_id"]),
        ("workflow", task["workflow"]),
        ("status", task["status"] + closed),
        ("started", task["started_at"]),
        ("ended", task["completed_at"]),
        ("redrive", task["redrives_at"] and f"{task['redrives_at']}, automatically"),
        ("compensate", task["compensates_at"] and f"from {task['compensates_at']} on, unless it is redriven before"),
    ):
        if text:
            print(f"{heading:<10} {text}")
    for warning in task["warnings"]:
        print(f"{'warning':<10} {warning['step']} failed, and the task goes on without it: {warning['code']}: {warning['message']}")
    for refusal in task.get("refusals", []):
        print(f"{'refused':<10} a cancellation, by {refusal['step']} at {refusal['at']}: {refusal['error']['code']}: {refusal['error']['message']}")
    for heading, steps in (("steps", task["steps"]), ("compensations", task["compensations"])):
        if steps:
            print(f"\n{heading}")
        for step in steps:
            print(f"  {step['name']:<20} {step['status']}{waits_for(step)}")
            for attempt in step["attempts"]:
                error = attempt["error"]
                why = f"  {error['code']}: {error['message']}" if error else ""
                again = f"  next at {attempt['next_retry_at']}" if attempt["next_retry_at"] else ""
                print(f"    {attempt['number']:>2}  {attempt['started_at']}  {attempt['outcome']}{why}{again}")
    if task["actions"]:
        print("\nwhat was done to it")
    for action in task["actions"]:
        step = f" {action['step']}" if action["step"] else ""
        print(f"  {action['at']}  {action['what']}{step}  by {action['who']}: {action['why']}")


def act_on_one_or_many(api, options):
    if options.task:
        act(api, options)
        return
    body = {"action": options.command, "filter": options.filter, "reason": options.reason or "only counted"}
    if options.pace:
        body["pace"] = options.pace
    found = api.post("/tasks/bulk", json.dumps(body))
    many = ("at least " if found["or_more"] else "") + counted(found["count"], "task")
    if options.dry_run and options.json:
        print_json(found)
        return
    # Whoever answers the question has to see what it is about.
    if not options.yes:
        print_tasks(found["sample"], sys.stderr)
        if found["or_more"] or found["count"] > len(found["sample"]):
            print("...", file=sys.stderr)
    print(f"{many} to {options.command}", file=sys.stderr)
    if options.dry_run or not found["count"]:
        return
    if not options.yes:
        confirm(f"{options.command.capitalize()} {'them' if found['count'] > 1 else 'it'}?")
    body |= {"dry_run": False, "expected_count": found["count"], "or_more": found["or_more"]}
    follow(api, api.post_once("/tasks/bulk", json.dumps(body)), options)


def follow(api, begun, options):
    """Prints the progress until the bulk action is over. It is the engine that carries it on: this only looks."""
    path = f"/tasks/bulk/{quote(begun['bulk_id'])}"
    print(f"bulk action {begun['bulk_id']}: the engine begins within a minute", file=sys.stderr)
    shown = None
    try:
        while begun["status"] in ("running", "stopping"):
            time.sleep(LOOK_EACH)
            begun = api.get(path)
            if progress(begun) != shown:
                shown = progress(begun)
                print(shown, file=sys.stderr)
    except (KeyboardInterrupt, Refused) as error:
        why = "" if isinstance(error, KeyboardInterrupt) else f"{error}. "
        sys.exit(
            f"tasks: {why}The bulk action goes on without you. See infra/tasks.sh bulk {begun['bulk_id']}, or end it with "
            f"infra/tasks.sh stop {begun['bulk_id']} --reason WHY"
        )
    if options.json:
        print_json(begun)
    if begun["refused"] and not options.json:
        print(f"infra/tasks.sh results {begun['bulk_id']} says which were refused", file=sys.stderr)
    if begun["refused"] or begun["status"] != "complete":
        sys.exit(1)


def progress(bulk):
    refused = ", ".join(f"{count} refused: {reason}" for reason, count in bulk["refused"].items())
    end = f"; until about {bulk['expected_end'][:16]}Z" if bulk["expected_end"] else ""
    return f"{bulk['status']}: {bulk['done']} of {bulk['expected_count']} done{', ' + refused if refused else ''}{end}"


def bulk(api, options):
    """One bulk action, or all of them, the newest first."""
    answer = api.get(f"/tasks/bulk/{quote(options.bulk)}") if options.bulk else api.get("/tasks/bulk")
    if options.json:
        print_json(answer)
        return
    for one in [answer] if options.bulk else answer["bulk_actions"]:
        filters = " ".join(f"{name}={value}" for name, value in one["filter"].items())
        print(f"{one['bulk_id']}  {one['started_at']}  {one['action']} {filters}  by {one['who']}: {one['why']}")
        print(f"  {progress(one)}")


def results(api, options):
    found, place = [], {}
    while place is not None:
        answer = api.get(f"/tasks/bulk/{quote(options.bulk)}/results", place)
        if not options.json:
            for one in answer["results"]:
                print(f"{one['task_id']}  {one['result']}{': ' + one['reason'] if 'reason' in one else ''}")
        found += answer["results"] if options.json else []
        place = {"next": answer["next"]} if answer["next"] else None
    if options.json:
        print_json({"results": found})


def stop(api, options):
    answer = api.post(f"/tasks/bulk/{quote(options.bulk)}/stop", json.dumps({"reason": options.reason}))
    if options.json:
        print_json(answer)
    else:
        print(progress(answer))


def act(api, options):
    body = json.dumps({"reason": options.reason})
    accepted(api.post(f"/tasks/{quote(options.task)}/{options.command}", body), options)


def ship(api, options):
    answer = api.post(f"/orders/{quote(options.order)}/ship", json.dumps({"reason": options.reason}))
    if options.json:
        print_json(answer)
    else:
        print(f"{answer['order_id']} was shipped at {answer['shipped_at']}, and cannot be cancelled any more")


def resend(api, options):
    body = {"reason": options.reason, "email": options.email}
    answer = api.post(f"/orders/{quote(options.order)}/resend", json.dumps(body))
    if options.json:
        print_json(answer)
    else:
        print(f"{answer['recipient']} was sent an e-mail that order {answer['order_id']} is {answer['status']}")


def resolve_step(api, options):
    result = options.result
    try:
        if result.startswith("@"):
            result = pathlib.Path(result[1:]).read_text(encoding="utf-8")
        json.loads(result)
    except json.JSONDecodeError as error:
        raise Refused(f"--result is not JSON: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"--result: {error}") from error
    # Put in as it is, so that its numbers stay as they were written.
    checked = ', "attempts_checked": true' if options.attempts_checked else ""
    body = f'{{"result": {result}, "reason": {json.dumps(options.reason)}{checked}}}'
    accepted(api.post(f"/tasks/{quote(options.task)}/steps/{quote(options.step)}/resolve", body), options)


def accepted(answer, options):
    if options.json:
        print_json(answer)
    else:
        print(f"{answer['task_id']} is {answer['status']} now")


def counted(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def confirm(question):
    if not sys.stdin.isatty():
        raise Refused("there is no terminal to ask on. Pass --yes to go ahead; nothing was done")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if not sys.stdin.readline().lower().startswith("y"):
        raise Refused("nothing was done")


def print_json(value):
    print(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
