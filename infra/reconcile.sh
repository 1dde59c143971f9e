#!/usr/bin/env bash
# Holds payments, orders, reservations and tasks against each other, as the stack does by itself each hour.
#
#   infra/reconcile.sh                                 list what does not fit together; changes nothing
#   infra/reconcile.sh --mend                          the same, then ask, and mend what is certain
#   infra/reconcile.sh acknowledge ID KIND --reason WHY
#                                                      somebody has settled a finding: it is not reported any more
#
# `stepwell reconcile` is the same command. infra/RUNBOOK.md says what each kind of finding means and what to do.
#
#   --stage NAME      the stack stepwell-NAME in AWS; if not said, or `local`, the local stack on port 4566, or STEPWELL_PORT
#   --region REGION   where that is; if not said, what your AWS configuration says
#   --min-age SECONDS judge checkouts that have been at rest for so long, an hour if not said. Less, for tests, finds what is
#                     only in flight, so nothing is mended then
#   --yes             mend: do not ask
#   --json            print the function's answer
#   --install         install missing Debian packages with sudo; else that is done as root only
#
# It needs the right lambda:InvokeFunction on the function reconcile. A run takes up to a quarter of an hour.
# Exit codes: 0 everything fits together, 1 something does not, 2 it could not be found out, or a wrong command.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

# 1 says that there are findings, so no error may end with it.
trap 'status=$?; ((status == 0)) || exit 2' EXIT

given_stage='' region='' arguments=()
while (($#)); do
  [[ ! $1 =~ ^--(stage|region)$ || $# -gt 1 ]] || die "$1 needs a value. See infra/reconcile.sh --help"
  case $1 in
    --stage) given_stage=$2 && shift ;;
    --region) region=$2 && shift ;;
    -h | --help) usage && exit ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

need_tools
if [[ -n $given_stage && $given_stage != local ]]; then
  use_stage "$given_stage"
  need_account "$region"
else
  environment=$("$infra/local.sh" env) || exit 1
  eval "$environment"
  unset AWS_PROFILE AWS_SESSION_TOKEN
  use_stage local
fi
exec "$tools/bin/python" -B "$infra/reconcile.py" "$stack-reconcile" ${arguments[@]+"${arguments[@]}"}
