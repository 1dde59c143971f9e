#!/usr/bin/env bash
# Lists, inspects and repairs workflow tasks.
#
#   infra/tasks.sh list [FILTER]...                    the tasks that fit, the oldest first; all without a filter
#   infra/tasks.sh show ID                             one task: its steps, every attempt, who did what and why
#   infra/tasks.sh redrive ID --reason WHY             give what failed a fresh set of attempts
#   infra/tasks.sh cancel ID --reason WHY              start no new step, compensate the attempted ones
#   infra/tasks.sh compensate ID --reason WHY          compensate the attempted steps of a failed or cancelled task
#   infra/tasks.sh redrive|cancel|compensate FILTER... --reason WHY
#                                                      the same for all tasks that fit: counts them, asks, starts a bulk
#                                                      action, and prints its progress. The engine carries it on, whether
#                                                      or not somebody looks. Without --status a redrive and a
#                                                      compensation are for failed tasks, a cancellation for running ones
#   infra/tasks.sh bulk [BULK]                         one bulk action, or all of the last 90 days
#   infra/tasks.sh results BULK                        what became of each of its tasks
#   infra/tasks.sh stop BULK --reason WHY              end it; the tasks that it has not reached stay as they are
#   infra/tasks.sh resolve ID --reason WHY             declare it done, for good; compensate nothing, start nothing.
#                                                      Refused while a step is in flight
#   infra/tasks.sh resolve-step ID STEP --result JSON|@FILE --reason WHY [--attempts-checked]
#                                                      a step was done by hand: its result, and what depends on it runs.
#                                                      The result has to fit the step's type. A step that was attempted
#                                                      may have had its effect: look first, then say --attempts-checked
#
#   infra/tasks.sh ship ORDER --reason WHY             the order was handed over, and cannot be cancelled any more;
#                                                      its id is that of its task
#   infra/tasks.sh resend ORDER --reason WHY [--email ADDRESS]
#                                                      send its e-mail again: that it is confirmed, or cancelled and
#                                                      refunded. ADDRESS becomes the order's. Repeated, it sends twice
#
# FILTER: --status STATUS, --workflow NAMESPACE/NAME[@VERSION], --failed-step STEP, --error-code CODE,
#         --compensated true|false, --needs person, --created-from MOMENT, --created-before MOMENT (2026-11-23T07:00:00Z),
#         --older-than AGE (90s, 15m, 2h, 3d). What is compensated can have no other attempt; a redrive leaves it out.
#         A redrive with --status complete runs the optional steps that failed, which `show` prints as warnings, once more.
#
#   --stage NAME      the stack stepwell-NAME in AWS; the local stack on port 4566, or STEPWELL_PORT, if not said
#   --region REGION   where that is; if not said, what your AWS configuration says
#   --url URL         the API's base URL, instead of looking the stack up
#   --token TOKEN     a token instead of AWS credentials, for a stack with OperatorJwtIssuer; or set STEPWELL_TOKEN
#   --limit NUMBER    list: no more than so many, and those any
#   --dry-run         of many: only count them
#   --yes             of many: do not ask
#   --pace NUMBER     of many: so many tasks a minute; 2000 if not said, at most 10000
#   --json            print the API's answers
#   --install         install missing Debian packages with sudo; else that is done as root only
#
# The options from --limit on, a filter and a reason come after the command.
#
# Requests are signed with your AWS credentials, taken from where every AWS tool takes them, and the audit trail keeps
# whose they are. Exit codes: 0 done, 1 refused or failed (of many: at least one task was refused, or it was stopped),
# 2 a command or an option that does not exist or is missing.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

misused() {
  (die "$1. See infra/tasks.sh --help") || exit 2
}

given_stage='' region='' url='' arguments=()
while (($#)); do
  [[ ! $1 =~ ^--(stage|region|url|token)$ || $# -gt 1 ]] || misused "$1 needs a value"
  case $1 in
    --stage) given_stage=$2 && shift ;;
    --region) region=$2 && shift ;;
    --url) url=$2 && shift ;;
    --token) export STEPWELL_TOKEN=$2 && shift ;;
    -h | --help) usage && exit ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
((${#arguments[@]})) || { usage >&2 && exit 2; }
[[ -z $url || -z $given_stage ]] || misused "--url and --stage say the same twice"

need_tools
if [[ -n $url ]]; then
  # botocore reads no other name.
  region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-}}}
  [[ -z $region ]] || export AWS_DEFAULT_REGION=$region
elif [[ -n $given_stage ]]; then
  use_stage "$given_stage"
  need_account "$region"
  look_up_url
  [[ -n $url ]] || die "there is no stack $stack in $AWS_REGION, or it is still being made"
else
  environment=$("$infra/local.sh" env) || exit 1
  eval "$environment"
  unset AWS_PROFILE AWS_SESSION_TOKEN
  url=$API
fi
exec "$tools/bin/python" -B "$infra/tasks.py" "$url" "${arguments[@]}"
