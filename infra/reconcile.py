"""What infra/reconcile.sh does: invokes the function of the reconciliation.

usage: reconcile.py FUNCTION [acknowledge] ...; infra/reconcile.sh --help says the rest
"""

import argparse
import json
import sys

import botocore.config
import botocore.exceptions
import botocore.session

# The function's timeout, and a little more. A run is not repeated: it may still go on.
CONFIG = botocore.config.Config(read_timeout=910, retries={"total_max_attempts": 1})


class Failed(Exception):
    """It is not known what does not fit together."""


def main():
    options = parse()
    try:
        sys.exit(acknowledge(options) if options.command else reconcile(options))
    except (Failed, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        print(f"reconcile: {error}", file=sys.stderr)
        sys.exit(2)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"reconcile: {message}. See infra/reconcile.sh --help\n")


def parse():
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("function")
    parser.add_argument("command", nargs="?", choices=["acknowledge"])
    parser.add_argument("task", nargs="?")
    parser.add_argument("kind", nargs="?")
    parser.add_argument("--reason")
    parser.add_argument("--mend", action="store_true")
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--min-age", type=int)
    options = parser.parse_args()
    if options.command and not (options.kind and options.reason):
        parser.error("acknowledge takes the id and the kind of a finding, and --reason")
    if options.command and (options.mend or options.yes or options.min_age is not None):
        parser.error("acknowledge takes nothing but --reason and --json")
    if not options.command and options.reason:
        parser.error("--reason is for acknowledge")
    return options


def reconcile(options):
    request = {"all_refunds": True}
    if options.min_age is not None:
        request["min_age_seconds"] = options.min_age
    report = invoke(options, request)
    certain = [finding for finding in report["findings"] if finding["remedy"] != "person"]
    if options.mend and certain:
        if not options.yes:
            show(report, sys.stderr)
            confirm(f"Mend {counted(len(certain), 'finding')}?")
        report = invoke(options, request | {"mend": True})
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report, sys.stdout)
    if report["unfinished"] or report["not_judged"]:
        return 2
    return 1 if any(finding["outcome"]["is"] != "mended" for finding in report["findings"]) else 0


def show(report, file):
    for finding in report["findings"]:
        outcome = finding["outcome"]
        why = f": {outcome['why']}" if "why" in outcome else ""
        payment = f"  {finding['payment']}" if finding["payment"] else ""
        print(f"{finding['id']}  {finding['kind']:<21}  {finding['remedy']:<7}  {outcome['is']}{why}{payment}", file=file)
    for checkout in report["not_judged"]:
        print(f"{checkout['id']}  not judged: {checkout['why']}", file=file)
    if report["unfinished"]:
        print("there was no time for all checkouts", file=sys.stderr)
    print(f"{counted(len(report['findings']), 'finding')} in {counted(report['judged'], 'checkout')}", file=sys.stderr)


def acknowledge(options):
    who = botocore.session.get_session().create_client("sts", config=CONFIG).get_caller_identity()["Arn"]
    settled = {"id": options.task, "kind": options.kind, "who": who, "why": options.reason}
    answer = invoke(options, {"acknowledge": settled})
    print(json.dumps(answer, indent=2) if options.json else f"{options.kind} of {options.task} is not reported any more")
    return 0


def invoke(options, request):
    client = botocore.session.get_session().create_client("lambda", config=CONFIG)
    answer = client.invoke(FunctionName=options.function, Payload=json.dumps(request).encode())
    body = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise Failed(body.get("errorMessage", body) if isinstance(body, dict) else body)
    return body


def counted(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def confirm(question):
    if not sys.stdin.isatty():
        raise Failed("there is no terminal to ask on. Pass --yes to go ahead; nothing was mended")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if not sys.stdin.readline().lower().startswith("y"):
        raise Failed("nothing was mended")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
