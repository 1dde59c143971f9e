"""What infra/tasks.sh does: asks the operators' API at a URL.

usage: tasks.py URL COMMAND ...; infra/tasks.sh --help says the rest
"""

import argparse
import json
import os
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.session

FILTER = ["status", "workflow", "failed_step", "error_code", "compensated", "created_from", "created_before", "older_than"]
# A list goes on in this many tasks at a time, retries in this many: they are made one after another.
PAGE, BATCH = 200, 50
REFUSED, NOT_UNDERSTOOD = 1, 2


def main():
    options = parse()
    api = Api(options.url, options.token)
    try:
        COMMANDS[options.command](api, options)
    except Refused as refused:
        if options.json and refused.answer is not None:
            print_json(refused.answer)
        sys.exit(f"tasks: {refused}")


# ---- The command line --------------------------------------------------------------------------------------------------


def parse():
    parser = argparse.ArgumentParser(prog="tasks", add_help=False, allow_abbrev=False)
    parser.error = lambda message: understood(False, message)
    parser.add_argument("url")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("words", nargs="*")
    for name in FILTER:
        parser.add_argument(option(name))
    parser.add_argument("--reason")
    parser.add_argument("--result")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--token", default=os.environ.get("STEPWELL_TOKEN"))
    for flag in ("--dry-run", "--yes", "--json"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_intermixed_args()
    options.filter = {name: value for name in FILTER if (value := getattr(options, name)) is not None}
    check(options)
    return options


def check(options):
    """That each command has what it needs, and nothing that it would pass over."""
    command, words = options.command, options.words
    bulk = command == "retry" and not words
    wanted = {"list": 0, "resolve-step": 2}.get(command, 0 if bulk else 1)
    what = {0: "takes no task", 1: "takes the id of one task", 2: "takes the id of a task and the name of a step"}
    understood(len(words) == wanted, f"{command} {what[wanted]}, not '{' '.join(words)}'")
    understood(not options.filter or command == "list" or bulk, f"{command} takes no filter beside a task's id")
    understood(not bulk or options.filter, "retry takes the id of a task, or a filter: --status error is all that failed")
    changes = command not in ("list", "show")
    understood(changes == (options.reason is not None), f"{command} {'needs' if changes else 'takes no'} --reason")
    understood((command == "resolve-step") == (options.result is not None), "resolve-step, and it alone, needs --result")
    understood(command == "list" or options.limit is None, "--limit is list's")
    understood(options.limit is None or options.limit > 0, "--limit has to be 1 or more")
    understood(bulk or not (options.dry_run or options.yes), "--dry-run and --yes are for a retry of many")


def understood(condition, message):
    if not condition:
        print(f"tasks: {message}. See infra/tasks.sh --help", file=sys.stderr)
        sys.exit(NOT_UNDERSTOOD)


def option(name):
    return "--" + name.replace("_", "-")


# ---- The commands ------------------------------------------------------------------------------------------------------


def list_tasks(api, options):
    tasks = find(api, options.filter, options.limit)
    if options.json:
        print_json({"tasks": tasks, "count": len(tasks)})
        return
    print_rows(tasks)
    print(counted(len(tasks), "task"), file=sys.stderr)
    if not tasks and "failed_step" in options.filter:
        doubt_step(api, options.filter)


def doubt_step(api, filters):
    """Says so where nothing fits and the tasks that there are have no step of that name. What there is is asked of any
    task of the workflow."""
    wanted = filters["failed_step"]
    some = find(api, {name: filters[name] for name in ("workflow",) if name in filters}, limit=1)
    if not some:
        return
    task = api.get(f"/tasks/{quote(some[0]['task_id'])}")
    steps = [step["name"] for step in task["steps"] + task["compensations"]]
    if wanted not in steps:
        print(f"note: {task['workflow']} has no step {wanted}. It has: {', '.join(steps)}", file=sys.stderr)


def find(api, filters, limit=None):
    """The tasks that fit, the oldest first; where there are more than the limit, any of them."""
    tasks, place = [], {}
    while place is not None:
        left = PAGE if limit is None else min(PAGE, limit - len(tasks))
        answer = api.get("/tasks", {**filters, "limit": str(left), **place})
        tasks += answer["tasks"]
        full = limit is not None and len(tasks) >= limit
        place = {"next": answer["next"]} if answer["next"] and not full else None
    return sorted(tasks, key=lambda task: task["created_at"])


def print_rows(tasks):
    for task in tasks:
        print(f"{task['task_id']}  {task['created_at']}  {task['status']:<17}  {task['workflow']}", end="")
        print(f"  failed: {', '.join(task['failed_steps'])}" if task["failed_steps"] else "", end="")
        print("  compensated" if task["compensated"] else "")


def show(api, options):
    task = api.get(f"/tasks/{quote(options.words[0])}")
    if options.json:
        # As it came, because a result's numbers are kept to the digit.
        print(api.text)
        return
    print(f"task      {task['task_id']}")
    print(f"workflow  {task['workflow']}")
    closed = ", compensated: closed for good" if task["compensated"] else ""
    print(f"status    {task['status']}{closed}")
    print(f"started   {task['started_at']}")
    if task["completed_at"]:
        print(f"ended     {task['completed_at']}")
    if task["restarts_at"]:
        print(f"restarts  {task['restarts_at']}, by itself")
    if task["compensates_at"]:
        print(f"undone    from {task['compensates_at']} on, by itself, unless it is retried before")
    for heading, name in (("steps", "steps"), ("undone by", "compensations")):
        if task[name]:
            print(f"\n{heading}")
        for step in task[name]:
            print_step(step)
    if task["actions"]:
        print("\nwhat was done to it")
    for action in task["actions"]:
        step = f" {action['step']}" if action["step"] else ""
        print(f"  {action['at']}  {action['what']}{step}  by {action['who']}: {action['why']}")


def print_step(step):
    print(f"  {step['name']:<20} {step['status']}")
    for attempt in step["attempts"]:
        error = attempt["error"]
        why = f"  {error['code']}: {error['message']}" if error else ""
        again = f"  next at {attempt['next_retry_at']}" if attempt["next_retry_at"] else ""
        print(f"    {attempt['number']:>2}  {attempt['started_at']}  {attempt['outcome']}{why}{again}")


def retry(api, options):
    if options.words:
        act(api, options)
        return
    found = retried(api, options, dry_run=True)
    ids = found["tasks"]
    if not options.json:
        # What is begun or ends between the two calls is not worth a third.
        print_rows(find(api, {"status": "error", "compensated": "false", **options.filter}))
        print(f"{counted(len(ids), 'failed task')} to be retried", file=sys.stderr)
    if options.dry_run or not ids:
        if options.json:
            print_json(found)
        return
    if not options.yes:
        confirm(f"Retry {'them' if len(ids) > 1 else 'it'}?")
    done = retried(api, options, dry_run=False)
    if options.json:
        print_json(done)
    else:
        are = "is" if done["matched"] == 1 else "are"
        print(f"{done['retried']} of {counted(done['matched'], 'task')} {are} tried again", file=sys.stderr)
        for refusal in done["refused"]:
            print(f"not retried: {refusal['task_id']}: {refusal['error']}", file=sys.stderr)
    if done["refused"]:
        sys.exit(REFUSED)


def retried(api, options, dry_run):
    whole = {"dry_run": dry_run, "matched": 0, "retried": 0, "refused": [], "tasks": []}
    place = None
    while True:
        body = {"filter": options.filter, "dry_run": dry_run, "reason": options.reason, "limit": BATCH, "next": place}
        page = api.post("/tasks/retry", json.dumps(body))
        for name in ("matched", "retried", "refused", "tasks"):
            whole[name] += page[name]
        place = page["next"]
        if place is None:
            return whole


def act(api, options):
    body = json.dumps({"reason": options.reason})
    accepted(api.post(f"/tasks/{quote(options.words[0])}/{options.command}", body), options)


def resolve_step(api, options):
    task, step = options.words
    result = options.result
    if result.startswith("@"):
        try:
            result = pathlib.Path(result[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"--result: {error}") from error
    try:
        json.loads(result)
    except ValueError as error:
        raise Refused(f"--result is not JSON: {error}") from error
    # Put in as it is, so that its numbers stay as they were written.
    body = f'{{"result": {result}, "reason": {json.dumps(options.reason)}}}'
    accepted(api.post(f"/tasks/{quote(task)}/steps/{quote(step)}/resolve", body), options)


def accepted(answer, options):
    if options.json:
        print_json(answer)
    else:
        print(f"{answer['task_id']} is {answer['status']} now")


COMMANDS = {
    "list": list_tasks,
    "show": show,
    "retry": retry,
    "cancel": act,
    "compensate": act,
    "resolve": act,
    "resolve-step": resolve_step,
}


# ---- The API -----------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The API did not do what it was asked; `answer` is what it said, where that was JSON."""

    def __init__(self, message, answer=None):
        super().__init__(message)
        self.answer = answer


class Api:
    """The operators' API at a URL, asked with a token or with a signature by the AWS credentials of the environment."""

    def __init__(self, url, token):
        self.url, self.token, self.text = url.rstrip("/"), token, ""
        # A proxy knows nothing of a stack on this machine; for one in AWS the environment says whether there is one.
        local = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if local else None))

    def get(self, path, query=None):
        return self.ask("GET", path + ("?" + urllib.parse.urlencode(query, quote_via=quote) if query else ""))

    def post(self, path, body):
        return self.ask("POST", path, body.encode())

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body else {}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else self.signature(method, path, body, headers)
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with self.opener.open(request, timeout=30) as response:
                self.text = response.read().decode()
                return json.loads(self.text)
        except urllib.error.HTTPError as error:
            raise refused(error) from error
        except (OSError, ValueError) as error:
            raise Refused(f"{self.url} did not answer: {error}") from error

    def signature(self, method, path, body, headers):
        session = botocore.session.get_session()
        credentials, region = session.get_credentials(), session.get_config_variable("region")
        if credentials is None:
            raise Refused("there are no AWS credentials. Set AWS_PROFILE, log in, or pass --token")
        request = botocore.awsrequest.AWSRequest(method, self.url + path, data=body, headers=headers)
        botocore.auth.SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)
        return dict(request.headers)


def refused(error):
    """What an answer that is not the one asked for has to say."""
    try:
        answer = json.loads(error.read())
        text = answer.get("error") or answer.get("message") or "no reason given"
    except (OSError, ValueError, AttributeError):
        return Refused(f"the API answered {error.code} {error.reason}")
    for fault in answer.get("details") or []:
        text += f"\n  {fault['path'] or '/'}: {fault['message']}"
    if error.code in (401, 403):
        text += "\n  Does the stack want tokens (--token) or AWS credentials, and may yours do execute-api:Invoke?"
    return Refused(f"{text} ({error.code})", answer)


def quote(text, safe="", *_):
    return urllib.parse.quote(text, safe="")


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
