"""Takes some checkouts through a running Stepwell and shows every step of them as it happens.

usage: demo.py API_URL [TASKS]

TASKS is the script for operators, where it may be used on this stack. infra/demo.sh calls this. It needs Python's own
library only.
"""

import datetime
import os
import pathlib
import subprocess
import sys
import time

from api import Api, Refused

REQUESTS = pathlib.Path(__file__).parent.parent / "events" / "requests"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 120
# For so long a checkout that is refused, because a service is out, is sent again.
OUTAGE_SECONDS = 600
BREAKER_OPEN = "BREAKER_OPEN"
RETRYABLE, PERMANENT, COMPLETE = "retryable_error", "permanent_error", "complete"


def main(url, tasks=None):
    shop = Api(url)
    scenarios = [succeeds, recovers, is_declined, lacks_stock, is_resumed] + ([is_compensated] if tasks else [])
    results = [play(number, scenario, shop, tasks) for number, scenario in enumerate(scenarios, 1)]
    good = results.count(True)
    if good < len(results):
        sys.exit("\n" + red(f"{len(results) - good} of {len(results)} checkouts did not go as they should."))
    print("\n" + green(f"All {good} checkouts went as they should."))


def play(number, scenario, shop, tasks):
    print(f"\n{bold(f'{number}. {scenario.__doc__}')}")
    try:
        say(f"{green('As it should be:')} {scenario(Checkout(shop, tasks))}")
        return True
    except (Wrong, Refused) as wrong:
        say(f"{red('NOT as it should be:')} {wrong}")
        return False


# ---- The scenarios: what each does, and what has to come of it ---------------------------------------------------------


def succeeds(checkout):
    """A checkout that succeeds"""
    checkout.start("success")
    checkout.must_be("completed")
    expect(checkout.status["total_amount"] == 100, f"the total is {checkout.status['total_amount']}")
    order = checkout.shop.get(checkout.status["redirect_url"])
    return f"order {order['order_number']} over {order['total_amount']:.2f} USD, every step at its first attempt."


def recovers(checkout):
    """A payment that fails, is tried again with backoff, and succeeds"""
    checkout.start("gateway_recovers")
    checkout.must_be("completed", process_payment=[RETRYABLE, RETRYABLE, COMPLETE])
    return f"order {checkout.status['order_number']}, paid at the third attempt."


def is_declined(checkout):
    """A card that is declined"""
    checkout.start("card_declined")
    checkout.must_be("failed", "PAYMENT_DECLINED", process_payment=[PERMANENT])
    return "failed at the first attempt, and nothing after the payment has run."


def lacks_stock(checkout):
    """More than is in stock"""
    checkout.start("inventory_conflict")
    checkout.must_be("failed", "INSUFFICIENT_STOCK", validate_cart=[PERMANENT])
    return "failed at the first attempt, and nothing was held or charged."


def is_resumed(checkout):
    """A gateway that stays down until the attempts are used up; then it is back, and the checkout goes on at the payment"""
    checkout.start("gateway_down")
    checkout.must_be("processing", "GATEWAY_TEMPORARY_FAILURE", process_payment=[RETRYABLE] * 3)
    retry_url = checkout.status["retrying"]["retry_url"]
    say(f"still processing, to be tried again in a minute. POST {retry_url}")
    checkout.shop.post(retry_url, "")
    checkout.watch()
    checkout.must_be("completed", process_payment=[RETRYABLE] * 3 + [COMPLETE])
    return f"order {checkout.status['order_number']}, charged once; validate_cart has not run again."


def is_compensated(checkout):
    """A checkout that is cancelled while its payment waits for the gateway"""
    checkout.start("gateway_rate_limited", until="process_payment")
    checkout.operate("cancel", "the customer called")
    checkout.watch()
    checkout.must_be("cancelled", process_payment=[RETRYABLE])
    compensations = {step["name"]: step["status"] for step in checkout.details["compensations"]}
    expect("refund_payment" in compensations and set(compensations.values()) == {COMPLETE}, f"its compensations are {compensations}")
    expect("release_stock" in compensations, "the held stock was not put back")
    return "cancelled: its units are back in stock, and its payment is ruled out for good."


# ---- A checkout, and how it is watched ---------------------------------------------------------------------------------


class Wrong(Exception):
    """Something did not go as it should."""


def expect(condition, otherwise):
    if not condition:
        raise Wrong(otherwise)


class Checkout:
    def __init__(self, shop, tasks):
        self.shop, self.tasks = shop, tasks
        self.task_id, self.key, self.status, self.details, self.shown = "", {}, {}, {}, set()

    def start(self, request, until=None):
        file = REQUESTS / f"{request}.json"
        started = self.send(file.read_text(encoding="utf-8"))
        self.task_id, self.key = started["task_id"], {"key": started["task_key"]}
        say(f"POST /checkout with events/requests/{file.name}: task {self.task_id}")
        self.watch(until)

    def send(self, body):
        """Sends it again while the shop takes no new checkouts and says when it may: until then nothing was started."""
        patience = time.monotonic() + OUTAGE_SECONDS
        while True:
            try:
                return self.shop.post("/checkout", body)
            except Refused as refused:
                if refused.retry_after is None or time.monotonic() + refused.retry_after > patience:
                    raise
                say(f"{yellow('refused')} {refused}; sent again in {refused.retry_after} s")
                time.sleep(refused.retry_after)

    def watch(self, until=None):
        """Shows what happens until the checkout has ended, or has attempted this step."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.details = self.shop.get(f"/workflow_details/{self.task_id}", self.key)
            self.show_news()
            attempted = {step["name"] for step in self.details["steps"] if step["attempts"]}
            if until in attempted or self.details["status"] not in ("pending", "in_progress", "compensating"):
                self.status = self.shop.get(f"/order_status/{self.task_id}", self.key)
                return
            expect(time.monotonic() < patience, f"{self.task_id} has not ended within {PATIENCE_SECONDS} s{self.waiting()}")
            time.sleep(POLL_SECONDS)

    def show_news(self):
        news = [
            (attempt["finished_at"] or attempt["started_at"], step["name"], attempt["number"], attempt)
            for step in self.details["steps"] + self.details["compensations"]
            for attempt in step["attempts"]
        ]
        for when, step, number, attempt in sorted(news, key=lambda one: one[0]):
            if (step, number, attempt["outcome"]) not in self.shown:
                self.shown.add((step, number, attempt["outcome"]))
                after = seconds(self.details["started_at"], when)
                say(f"{after:7.2f} s  {step:<17}  attempt {number}  {outcome(attempt)}")

        for step in self.details["steps"] + self.details["compensations"]:
            # It waits without an attempt, which would have told.
            error = step["error"] if step["status"] == "retrying" else None
            if error and error["code"] == BREAKER_OPEN and (step["name"], BREAKER_OPEN) not in self.shown:
                self.shown.add((step["name"], BREAKER_OPEN))
                say(f"           {step['name']:<17}  {yellow('waits')} {error['code']}: {error['message']}{self.next_at(step['name'])}")

    def next_at(self, step):
        retrying = self.shop.get(f"/order_status/{self.task_id}", self.key).get("retrying") or {}
        return f"; next attempt at {retrying['next_at']}" if retrying.get("step") == step and retrying.get("next_at") else ""

    def waiting(self):
        waits = [
            f"{step['name']} waits: {step['error']['code']}: {step['error']['message']}"
            for step in self.details["steps"] + self.details["compensations"]
            if step["status"] == "retrying" and step["error"]
        ]
        return "".join("; " + text for text in waits)

    def operate(self, command, reason):
        """Does what operators may do, and only they."""
        say(f'infra/tasks.sh {command} {self.task_id} --reason "{reason}"')
        words = [self.tasks, command, self.task_id, "--reason", reason]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, done.stderr.strip())

    def must_be(self, status, code=None, **attempts):
        """That it has this status, and its error, or the step that is tried again, this code; that each step that is named had attempts that ended so, and
        each other step one that is complete, or none where one that it depends on is not."""
        error = self.status.get("error") or self.status.get("retrying") or {"code": None}
        expect((self.status["status"], error["code"]) == (status, code), f"it is {self.status['status']}: {error}")
        complete = set()
        for step in self.details["steps"]:
            wanted = attempts.get(step["name"], [COMPLETE] if complete.issuperset(step["depends_on"]) else [])
            if wanted and wanted[-1] == COMPLETE:
                complete.add(step["name"])
            found = [attempt["outcome"] for attempt in step["attempts"]]
            expect(found == wanted, f"the attempts of {step['name']} ended so: {', '.join(found) or 'none'}")


def outcome(attempt):
    if attempt["outcome"] == "in_progress":
        return "runs"
    took = f"({attempt['duration_ms']} ms)"
    if attempt["outcome"] == COMPLETE:
        return f"{green('done')} {took}"
    error = attempt["error"] or {"code": attempt["outcome"], "message": ""}
    text = f"{took} {error['code']}: {error['message']}"
    if attempt["next_retry_at"]:
        wait = seconds(attempt["finished_at"], attempt["next_retry_at"])
        return f"{yellow('failed')} {text}; next attempt in {wait:.0f} s"
    return f"{red('failed')} {text}"


def seconds(start, end):
    start, end = (datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in (start, end))
    return (end - start).total_seconds()


# ---- What is shown: in colour on a terminal, plain elsewhere -----------------------------------------------------------

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def coloured(code):
    return lambda text: f"\033[{code}m{text}\033[0m" if COLOURS else text


bold, red, green, yellow = map(coloured, ("1", "31", "32", "33"))


def say(text):
    print(f"   {text}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
