"""Takes some checkouts through a running Stepwell and shows every step of them as it happens.

usage: demo.py API_URL [TASKS]

TASKS is the script for operators, where it may be used on this stack. infra/demo.sh calls this. It needs Python's own
library only.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

REQUESTS = pathlib.Path(__file__).parent.parent / "events" / "requests"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 120


def main(api, tasks=None):
    shop = Shop(api.rstrip("/"), tasks)
    scenarios = [succeeds, recovers, is_declined, lacks_stock, is_resumed] + ([is_undone] if tasks else [])
    results = [play(number, scenario, shop) for number, scenario in enumerate(scenarios, 1)]
    print()
    good = results.count(True)
    if good < len(results):
        sys.exit(red(f"{len(results) - good} of {len(results)} checkouts did not go as they should."))
    print(green(f"All {good} checkouts went as they should."))


def play(number, scenario, shop):
    title, *text = (line.strip() for line in scenario.__doc__.strip().splitlines())
    print(f"\n{bold(f'{number}. {title}')}")
    for line in filter(None, text):
        print(f"   {line}")
    print()
    try:
        print(f"   {green('As it should be:')} {scenario(shop)}")
        return True
    except Wrong as wrong:
        print(f"   {red('NOT as it should be:')} {wrong}")
        return False


# ---- The scenarios: what each does, and what has to come of it ---------------------------------------------------------


def succeeds(shop):
    """A checkout that succeeds

    Two of product 1. They come to 87.96, with 7.04 of tax and 5.00 of shipping.
    """
    checkout = shop.start("success").watch()
    checkout.must_be("completed")
    for step in checkout.steps():
        checkout.must_have_attempts(step, ["complete"])
    expect(str(checkout.status["total_amount"]) == "100.00", f"the total is {checkout.status['total_amount']}")
    order = shop.get(checkout.status["redirect_url"])
    return f"order {order['order_number']} over {order['total_amount']} USD, every step at its first attempt."


def recovers(shop):
    """A payment that fails, is tried again with backoff, and succeeds

    The gateway is out of order for two attempts.
    """
    checkout = shop.start("gateway_recovers").watch()
    checkout.must_be("completed")
    checkout.must_have_attempts("process_payment", ["retryable_error", "retryable_error", "complete"])
    return f"order {checkout.status['order_number']}, paid at the third attempt."


def is_declined(shop):
    """A card that is declined

    Another attempt would not help, so there is none.
    """
    checkout = shop.start("card_declined").watch()
    checkout.must_have_failed("process_payment", "PAYMENT_DECLINED")
    checkout.must_have_attempts("process_payment", ["permanent_error"])
    return "failed at the first attempt, and nothing after the payment has run."


def lacks_stock(shop):
    """More than is in stock

    A cart of 999. More may be delivered any moment, so it is tried again, but not for ever.
    """
    checkout = shop.start("inventory_conflict").watch()
    checkout.must_have_failed("validate_cart", "INSUFFICIENT_STOCK")
    checkout.must_have_attempts("validate_cart", ["retryable_error"] * 3)
    expect("Requested: 999" in checkout.status["error"]["message"], f"it says {checkout.status['error']}")
    return "failed when its three attempts were used up, and nothing was charged."


def is_resumed(shop):
    """A gateway that stays down until the attempts are used up; then it is back, and the checkout is resumed

    The checkout goes on at the payment. What was done before is not done again.
    """
    checkout = shop.start("gateway_down").watch()
    checkout.must_have_failed("process_payment", "GATEWAY_TEMPORARY_FAILURE")
    checkout.must_have_attempts("process_payment", ["retryable_error"] * 3)
    checked = checkout.step("validate_cart")

    say(f"failed. POST {checkout.status['retry_url']}")
    shop.post(checkout.status["retry_url"], "")
    checkout.watch()
    checkout.must_be("completed")
    checkout.must_have_attempts("process_payment", ["retryable_error"] * 3 + ["complete"])
    expect(checkout.step("validate_cart") == checked, "validate_cart has run again")
    return f"order {checkout.status['order_number']}, charged once; validate_cart has not run again."


def is_undone(shop):
    """A checkout that is cancelled while its payment waits for the gateway

    What was attempted is undone, whether it is known to have worked or not: no charge may come in late.
    """
    checkout = shop.start("gateway_rate_limited").watch(until=lambda checkout: checkout.step("process_payment")["attempts"])
    shop.operate("cancel", checkout.task_id, "--reason", "the customer called")
    checkout.watch()
    checkout.must_be("cancelled")
    checkout.must_have_attempts("process_payment", ["retryable_error"])
    undone = {step["name"]: step["status"] for step in checkout.details["compensations"]}
    expect("refund_payment" in undone and set(undone.values()) == {"complete"}, f"it was undone by {undone}")
    expect("release_stock" not in undone, "stock was put back that was never taken")
    return "cancelled, and its payment is ruled out for good."


# ---- A checkout, and how it is watched ---------------------------------------------------------------------------------


class Wrong(Exception):
    """Something did not go as it should."""


def expect(condition, otherwise):
    if not condition:
        raise Wrong(otherwise)


class Checkout:
    def __init__(self, shop, task_id):
        self.shop, self.task_id = shop, task_id
        self.status, self.details = {}, {}
        self.shown = set()

    def watch(self, until=lambda checkout: False):
        """Shows what happens until the checkout has ended, or has come as far as this."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.details = self.shop.get(f"/workflow_details/{self.task_id}")
            self.show_news()
            if self.details["status"] not in ("pending", "in_progress", "compensating") or until(self):
                self.status = self.shop.get(f"/order_status/{self.task_id}")
                return self
            expect(time.monotonic() < patience, f"{self.task_id} has not ended within {PATIENCE_SECONDS} s")
            time.sleep(POLL_SECONDS)

    def show_news(self):
        news = [
            (attempt["finished_at"] or attempt["started_at"], step["name"], attempt)
            for step in self.details["steps"] + self.details["compensations"]
            for attempt in step["attempts"]
            if (step["name"], attempt["number"], attempt["outcome"]) not in self.shown
        ]
        for when, step, attempt in sorted(news, key=lambda one: one[0]):
            self.shown.add((step, attempt["number"], attempt["outcome"]))
            after = seconds(self.details["started_at"], when)
            print(f"   {after:7.2f} s  {step:<17}  attempt {attempt['number']}  {outcome(attempt)}")

    def steps(self):
        """The names of the steps, in the workflow's order."""
        return [step["name"] for step in self.details["steps"]]

    def step(self, name):
        return next(step for step in self.details["steps"] if step["name"] == name)

    def must_be(self, status):
        error = self.status.get("error")
        why = f" with {error['code']}: {error['message']}" if error else ""
        expect(self.status["status"] == status, f"the checkout is {self.status['status']}{why}")

    def must_have_failed(self, step, code):
        self.must_be("failed")
        failed = self.status["failed_step"], self.status["error"]["code"]
        expect(failed == (step, code), f"it failed in {failed[0]} with {failed[1]}")
        steps = self.steps()
        later = [name for name in steps[steps.index(step) + 1 :] if self.step(name)["attempts"]]
        expect(not later, f"{', '.join(later)} ran all the same")

    def must_have_attempts(self, step, outcomes):
        found = [attempt["outcome"] for attempt in self.step(step)["attempts"]]
        expect(found == outcomes, f"the attempts of {step} ended so: {', '.join(found) or 'none'}")


def outcome(attempt):
    if attempt["outcome"] == "in_progress":
        return "runs"
    took = f"({attempt['duration_ms']} ms)"
    if attempt["outcome"] == "complete":
        return f"{green('done')} {took}"
    error = attempt["error"] or {"code": attempt["outcome"], "message": ""}
    text = f"{error['code']}: {error['message']}"
    if attempt["next_retry_at"]:
        wait = seconds(attempt["finished_at"], attempt["next_retry_at"])
        return f"{yellow('failed')} {took} {text}; next attempt in {wait:.0f} s"
    return f"{red('failed')} {took} {text}"


def seconds(start, end):
    start, end = (datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in (start, end))
    return (end - start).total_seconds()


# ---- The API -----------------------------------------------------------------------------------------------------------


class Shop:
    def __init__(self, api, tasks):
        self.api, self.tasks = api, tasks

    def start(self, request):
        file = REQUESTS / f"{request}.json"
        started = self.post("/checkout", file.read_text(encoding="utf-8"))
        say(f"POST /checkout with events/requests/{file.name}: task {started['task_id']}")
        return Checkout(self, started["task_id"])

    def operate(self, *words):
        """Does what operators may do, and only they."""
        say(f"infra/tasks.sh {' '.join(words[:-1])} \"{words[-1]}\"")
        done = subprocess.run([self.tasks, *words], capture_output=True, text=True, check=False)
        expect(done.returncode == 0, done.stderr.strip())

    def get(self, path):
        return self.call(urllib.request.Request(self.api + path))

    def post(self, path, body):
        headers = {"Content-Type": "application/json"}
        return self.call(urllib.request.Request(self.api + path, data=body.encode(), headers=headers))

    def call(self, request):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                # Amounts as they are written: 100.00 is not 100.0 here.
                return json.load(answer, parse_float=Amount)
        except urllib.error.HTTPError as error:
            raise Wrong(f"{request.method or request.get_method()} {request.full_url}: {error.code} {error.read().decode()}") from error
        except (urllib.error.URLError, OSError, json.JSONDecodeError) as error:
            sys.exit(f"demo.py: {request.full_url} does not answer as it should: {error}")


class Amount(str):
    """A number as it was written."""


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
