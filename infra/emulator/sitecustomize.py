"""Python reads this at start-up: infra/local.sh puts this folder on MiniStack's PYTHONPATH.

Some things in MiniStack are unlike AWS in a way that matters here, and one is missing that the tests need.

1. Its Lambda runtime API is a socketserver, which leaves Nagle's algorithm on. An answer sent in two pieces then waits
   for the function's delayed ACK, 40 ms at every hop, and hides what the functions themselves take. AWS has no such
   delay.

2. With AUTH=true it gives each function the credentials of its role and evaluates the role's policies at every call; all
   other keys are root's. But it looks for the right to send mail on the resource *, and knows no sender. SES looks for it
   on the sender's identity, and a condition may name the sender. Nor does it know the change of an
   event source mapping, or whose function that is for, which a condition may name, too.

3. The decisions about functions' calls are written to the file `calls` in the folder STEPWELL_STATE: a line for each
   function, action, resource and decision that differs, separated by tabs. tests/run.sh compares them with what the roles
   grant. A denied call is in the emulator's log as well, and what its function is answered names the resource, as on AWS;
   MiniStack leaves it out. The file `requests` beside it has a line for each request of a function: the function and the
   operation. `load` of the tests counts them. Several actions may be decided about for one request, as for a transaction.

4. It takes an API's CORS rules over from a template with their names as CloudFormation writes them, AllowOrigins, and looks for
   allowOrigins in them afterwards.

5. It refuses an alarm of an expression. Here it is one of the first metric: nothing on the local stack looks at alarms.

What is replaced here are MiniStack's internals, in the version that infra/requirements.txt names.
"""

import contextvars
import json
import os
import socketserver
import threading

from ministack.core import iam_actions, iam_evaluator
from ministack.services import apigateway
from ministack.services.cloudformation import provisioners

socketserver.StreamRequestHandler.disable_nagle_algorithm = True

# ---- Sending mail ----------------------------------------------------------------------------------------------------

sender = contextvars.ContextVar("the sender of the mail that this request sends", default=None)
ses_resource_arn = iam_actions._ses_v2_resource_arn


def ses_resource_arn_of_mail_too(method, path, body, region, account_id):
    if (method, path.rstrip("/")) != ("POST", "/v2/email/outbound-emails"):
        return ses_resource_arn(method, path, body, region, account_id)
    from ministack.services import ses_v2

    try:
        address = json.loads(body)["FromEmailAddress"]
    except (ValueError, KeyError, TypeError):
        return "*"
    sender.set(address)
    # The identity that SES finds verified: the address, or else its domain.
    identity = address if address in ses_v2._identities else address.rpartition("@")[2]
    return f"arn:aws:ses:{region}:{account_id}:identity/{identity}"


iam_actions._ses_v2_resource_arn = ses_resource_arn_of_mail_too

# ---- Event source mappings -------------------------------------------------------------------------------------------

lambda_action = iam_actions._lambda_action


def lambda_action_of_mappings_too(method, path):
    if method == "PUT" and "/event-source-mappings/" in path:
        return "UpdateEventSourceMapping"
    return lambda_action(method, path)


iam_actions._lambda_action = lambda_action_of_mappings_too

# ---- The record ------------------------------------------------------------------------------------------------------

enforce = iam_evaluator.enforce
extract_iam_action = iam_actions.extract_iam_action
recorded = set()
recording = threading.Lock()
# The operation of this request, until it is recorded.
operation = contextvars.ContextVar("the operation of this request", default=None)
denied_resource = contextvars.ContextVar("the resource that this request was denied", default=None)


def enforce_and_record(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
    if iam_action == "ses:SendEmail" and sender.get():
        service_context = {**(service_context or {}), "ses:FromAddress": sender.get()}
    if iam_action == "lambda:UpdateEventSourceMapping":
        service_context = {**(service_context or {}), "lambda:FunctionArn": function_of_mapping(resource_arn)}
    refused = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
    function = function_of(access_key_id)
    if function and isinstance(refused, iam_evaluator.AuthError):
        iam_evaluator.logger.warning("not known as %s: %s: %s", function, refused.code, refused.message)
    elif function:
        record_request(function)
        record(function, iam_action, resource_arn, refused)
    return refused


def function_of_mapping(arn):
    from ministack.services import lambda_svc

    return (lambda_svc._esms.get(arn.rpartition(":")[2]) or {}).get("FunctionArn", "")


def extract_and_keep_iam_action(service, *request):
    action = extract_iam_action(service, *request)
    operation.set(action)
    return action


def function_of(access_key_id):
    """The name of the function that was given this key: the name of the session that it has of its role."""
    from ministack.services import sts

    session = sts._sessions.get(access_key_id or "", {}).get("Arn", "")
    return session.rpartition("/")[2] if ":assumed-role/" in session else None


def record_request(function):
    if operation.get():
        with recording, in_state("requests") as requests:
            requests.write(f"{function}\t{operation.get()}\n")
        operation.set(None)


def in_state(name):
    return open(os.path.join(os.environ["STEPWELL_STATE"], name), "a", encoding="utf-8")


def record(function, action, resource, refused):
    if refused:
        denied_resource.set(resource)
        iam_evaluator.logger.warning("denied: %s lacks %s on %s", function, action, resource)
    line = "\t".join([function, action, resource, "denied" if refused else "allowed"])
    with recording:
        if line in recorded:
            return
        recorded.add(line)
        with in_state("calls") as calls:
            calls.write(line + "\n")


iam_evaluator.enforce = enforce_and_record
iam_actions.extract_iam_action = extract_and_keep_iam_action

access_denied_response = iam_actions.access_denied_response


def access_denied_response_with_resource(service, action, principal_arn, request_id, **details):
    if denied_resource.get():
        details["message"] = iam_actions.identity_denial_message(
            action, principal_arn, denied_resource.get(), details.get("explicit_deny", False)
        )
    return access_denied_response(service, action, principal_arn, request_id, **details)


iam_actions.access_denied_response = access_denied_response_with_resource

# ---- CORS ------------------------------------------------------------------------------------------------------------

cors_headers, preflight = apigateway._cors_response_headers, apigateway._cors_preflight_response


def as_the_api_names_them(rules):
    return {name[:1].lower() + name[1:]: rule for name, rule in (rules or {}).items()}


apigateway._cors_response_headers = lambda rules, origin: cors_headers(as_the_api_names_them(rules), origin)
apigateway._cors_preflight_response = lambda rules, origin: preflight(as_the_api_names_them(rules), origin)

# ---- Alarms ----------------------------------------------------------------------------------------------------------

metric_alarm_record = provisioners._cw_metric_alarm_record


def alarm_of_the_first_metric(name, properties):
    counted = [metric["MetricStat"] for metric in properties.get("Metrics") or [] if "MetricStat" in metric]
    if counted:
        first = counted[0]
        simple = {**first["Metric"], "Period": first["Period"], "Statistic": first["Stat"]}
        properties = {**{key: value for key, value in properties.items() if key != "Metrics"}, **simple}
    return metric_alarm_record(name, properties)


provisioners._cw_metric_alarm_record = alarm_of_the_first_metric
