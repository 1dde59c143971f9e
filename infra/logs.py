"""Prints what a stack's functions log, oldest first.

usage: logs.py STACK [FUNCTION] [--since MINUTES] [--follow]
"""

import argparse
import datetime
import re
import sys
import time

import boto3

# What Lambda itself writes around each invocation.
LAMBDAS_OWN = ("START RequestId", "END RequestId", "REPORT RequestId")


def main():
    options = argparse.ArgumentParser(prog="logs", description="What a stack's functions log, oldest first.")
    options.add_argument("stack", help="the stack, such as stepwell-local")
    options.add_argument("function", nargs="?", help="one function or step, such as validate_cart; all, if left out")
    options.add_argument("--since", type=int, default=10, metavar="MINUTES", help="how far back to start (10)")
    options.add_argument("--follow", action="store_true", help="go on printing until interrupted")
    options = options.parse_args()

    functions = functions_of(boto3.client("lambda"), options.stack)
    wanted = set(functions)
    if options.function:
        # A step's function is called WORKFLOW-STEP, and is found by the step's name too.
        wanted = {name for name in functions if name == options.function or name.endswith(f"-{options.function}")}
        if not wanted:
            names = ", ".join(sorted(functions)) or "none"
            sys.exit(f"logs: there is no function {options.function!r} in {options.stack}. It has: {names}")

    start = int((time.time() - options.since * 60) * 1000)
    logs = boto3.client("logs")
    groups = sorted({functions[name] for name in wanted})
    tails = [Tail(logs, options.stack, group, functions, start) for group in groups]
    width = max(map(len, functions), default=0)
    while True:
        news = sorted((event for tail in tails for event in tail.news()), key=lambda event: event[0])
        for timestamp, function, message in news:
            if options.function and function not in wanted:
                continue
            when = datetime.datetime.fromtimestamp(timestamp / 1000).strftime("%H:%M:%S.%f")[:-3]
            print(when, function.ljust(width), message.rstrip(), flush=True)
        if not news and not options.follow:
            return
        if not news:
            time.sleep(1)


def functions_of(client, stack):
    """The log group of each function, by the function's name without the stack's."""
    pages = client.get_paginator("list_functions").paginate()
    found = [function for page in pages for function in page["Functions"]]
    named = [(function["FunctionName"].removeprefix(f"{stack}-"), function) for function in found]
    return {
        name: function["LoggingConfig"]["LogGroup"] for name, function in named if function["FunctionName"] != name
    }


class Tail:
    """The end of one log group: each call of `news` gives what came since the last."""

    def __init__(self, logs, stack, group, functions, start):
        self.pages = logs.get_paginator("filter_log_events")
        self.stack, self.group = stack, group
        self.functions = [name for name in functions if functions[name] == group]
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
        functions = self.functions_of_streams(events)
        return [
            (event["timestamp"], functions[event["logStreamName"]], event["message"])
            for event in events
            if not event["message"].startswith(LAMBDAS_OWN)
        ]

    def functions_of_streams(self, events):
        """The function that each stream is of. Lambda names it in the stream of a group that several functions share;
        an emulator may not, and then a line of its step's does. Where none does, the group stands for it."""
        found = {}
        for event in events:
            stream = event["logStreamName"]
            known = found.get(stream)
            if known in self.functions:
                continue
            if len(self.functions) == 1:
                found[stream] = self.functions[0]
                continue
            ends = re.search(r"/([^/\[]+)\[", stream), re.search(r'"step":"([^"]+)"', event["message"])
            named = [end[1].removeprefix(f"{self.stack}-") for end in ends if end]
            fitting = [name for name in self.functions for end in named if name == end or name.endswith(f"-{end}")]
            found[stream] = fitting[0] if fitting else self.group.rpartition(f"{self.stack}-")[2]
        return found


def identity(event):
    # Without the eventId, which not every emulator gives.
    return event["logStreamName"], event["timestamp"], event["message"]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
