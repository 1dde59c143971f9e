"""Prints what a stack's functions log, oldest first: a moment, the step or the function, the line."""

import argparse
import datetime
import pathlib
import re
import sys
import time

import botocore.session

# What Lambda itself writes around each invocation.
LAMBDAS_OWN = ("START RequestId", "END RequestId", "REPORT RequestId")


def main():
    parser = argparse.ArgumentParser(prog="logs", description=__doc__)
    parser.add_argument("stack", help="the stack, such as stepwell-local")
    parser.add_argument("function", nargs="?", help="one function or step, such as validate_cart; all, if left out")
    parser.add_argument("--since", type=int, default=10, metavar="MINUTES", help="how far back to start (10)")
    parser.add_argument("--follow", action="store_true", help="go on printing until interrupted")
    options = parser.parse_args()

    # A step's function shares the workflow's log with the others, and is shown as the step.
    listed = (pathlib.Path(__file__).parent / "functions.txt").read_text(encoding="utf-8").splitlines()
    functions = {name: (log, shown) for name, _, _, log, shown in (line.split() for line in listed if line[0] != "#")}
    wanted = {name for name, (_, shown) in functions.items() if options.function in (None, name, shown)}
    if not wanted:
        sys.exit(f"logs: there is no function {options.function!r}. There are: {', '.join(functions)}")

    client, start = botocore.session.get_session().create_client("logs"), int((time.time() - options.since * 60) * 1000)
    tails = []
    for log in {functions[name][0] for name in wanted}:
        shown = {f"{options.stack}-{name}": shown for name, (of, shown) in functions.items() if of == log}
        tails.append(tail(client, f"/aws/lambda/{options.stack}-{log}", shown, start))
    steps = {functions[name][1] for name in wanted}
    width = max(len(shown) for _, shown in functions.values())
    while True:
        news = sorted((line for tail in tails for line in next(tail)), key=lambda line: line[0])
        for moment, name, message in news:
            if options.function is None or name in steps:
                when = datetime.datetime.fromtimestamp(moment / 1000).strftime("%H:%M:%S.%f")[:-3]
                print(when, name.ljust(width), message.rstrip(), flush=True)
        if not news and not options.follow:
            return
        if not news:
            time.sleep(1)


def tail(client, log, shown, start):
    """Each time what has come since: moment, step or function, line. `shown` says as what each function of this log is shown."""
    seen = {}
    while True:
        # Asked by time and not by token, because an emulator may cut an answer short and give no token. The last
        # millisecond is asked for again, since more of it may have come.
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=log, startTime=start)
        events = (event for page in pages for event in page["events"])
        found = dict.fromkeys((event["logStreamName"], event["timestamp"], event["message"]) for event in events)
        # Lambda names the function in the stream of a log that several share; an emulator may not, and then a line of the
        # step's does.
        steps = list(shown.values())
        names = {}
        for stream, _, message in found:
            function, step = re.search(r"/([^/\[]+)\[", stream), re.search(r'"step":"([^"]+)"', message)
            if function and function[1] in shown:
                names[stream] = shown[function[1]]
            elif len(steps) > 1 and step and step[1] in steps:
                names[stream] = step[1]
        other = steps[0] if len(steps) == 1 else log.rpartition("-")[2]
        new = (line for line in found if line not in seen and not line[2].startswith(LAMBDAS_OWN))
        yield [(moment, names.get(stream, other), message) for stream, moment, message in new]
        seen, start = found, max((moment for _, moment, _ in found), default=start)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
