"""Prints what a stack's functions log, oldest first.

usage: logs.py STACK [FUNCTION] [--since MINUTES] [--follow]
"""

import argparse
import datetime
import sys
import time

import boto3

# What Lambda itself writes around each invocation.
LAMBDAS_OWN = ("START RequestId", "END RequestId", "REPORT RequestId")


def main():
    options = argparse.ArgumentParser(prog="logs", description="What a stack's functions log, oldest first.")
    options.add_argument("stack", help="the stack, such as stepwell-local")
    options.add_argument("function", nargs="?", help="one function, such as validate_cart; all, if left out")
    options.add_argument("--since", type=int, default=10, metavar="MINUTES", help="how far back to start (10)")
    options.add_argument("--follow", action="store_true", help="go on printing until interrupted")
    options = options.parse_args()

    logs = boto3.client("logs")
    functions = functions_of(logs, options.stack)
    if options.function:
        # A step's function is called WORKFLOW-STEP, and is found by the step's name too.
        ends = (options.function, "-" + options.function)
        chosen = [function for function in functions if function == ends[0] or function.endswith(ends[1])]
        if not chosen:
            names = ", ".join(functions) or "none"
            sys.exit(f"logs: there is no function {options.function!r} in {options.stack}. It has: {names}")
        functions = chosen

    start = int((time.time() - options.since * 60) * 1000)
    tails = [Tail(logs, options.stack, function, start) for function in functions]
    width = max(map(len, functions), default=0)
    while True:
        news = sorted((event for tail in tails for event in tail.news()), key=lambda event: event[0])
        for timestamp, function, message in news:
            when = datetime.datetime.fromtimestamp(timestamp / 1000).strftime("%H:%M:%S.%f")[:-3]
            print(when, function.ljust(width), message.rstrip(), flush=True)
        if not news and not options.follow:
            return
        if not news:
            time.sleep(1)


def functions_of(logs, stack):
    prefix = f"/aws/lambda/{stack}-"
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
    return sorted(group["logGroupName"].removeprefix(prefix) for page in pages for group in page["logGroups"])


class Tail:
    """The end of one function's log: each call of `news` gives what came since the last."""

    def __init__(self, logs, stack, function, start):
        self.pages = logs.get_paginator("filter_log_events")
        self.group, self.function = f"/aws/lambda/{stack}-{function}", function
        self.start, self.seen = start, set()

    def news(self):
        # Asked by time and not by token, because an emulator may cut an answer short and give no token. The last
        # millisecond is asked for again, since more of it may have come.
        pages = self.pages.paginate(logGroupName=self.group, startTime=self.start)
        events = [event for page in pages for event in page["events"] if identity(event) not in self.seen]
        if events:
            newest = max(event["timestamp"] for event in events)
            self.seen = {identity(event) for event in events if event["timestamp"] == newest} | (
                self.seen if newest == self.start else set()
            )
            self.start = newest
        return [
            (event["timestamp"], self.function, event["message"])
            for event in events
            if not event["message"].startswith(LAMBDAS_OWN)
        ]


def identity(event):
    # Without the eventId, which not every emulator gives.
    return event["logStreamName"], event["timestamp"], event["message"]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
