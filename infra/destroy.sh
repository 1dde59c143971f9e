#!/usr/bin/env bash
# Takes a stage of Stepwell down that infra/deploy.sh has put into AWS.
#
#   infra/destroy.sh --stage NAME [--region REGION] [--delete-tables] [--yes]
#
#   --stage NAME       which Stepwell; its stack is stepwell-NAME
#   --region REGION    where; if not said, what your AWS configuration says
#   --delete-tables    delete the tables too, with every order and payment in them; they are kept if not said
#   --yes              do not ask
#
# Functions, queues with what is in them, logs, the API and the stage's code are deleted in any case.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

region='' yes='' delete_tables='' given_stage=''
while (($#)); do
  case $1 in
    --stage | --region) (($# > 1)) || die "$1 needs a value. See infra/destroy.sh --help" ;;&
    --stage) given_stage=$2 && shift 2 ;;
    --region) region=$2 && shift 2 ;;
    --delete-tables) delete_tables=yes && shift ;;
    --yes) yes=yes && shift ;;
    -h | --help) usage && exit ;;
    *) die "there is no option '$1'. See infra/destroy.sh --help" ;;
  esac
done
[[ -n $given_stage ]] || die "say which stage: infra/destroy.sh --stage NAME"
use_stage "$given_stage"

need_tools
need_account "$region"

existing=$(stack_status)
left=$(tables_left)
say "This will delete in AWS:
  account       $account, as $caller
  region        $AWS_REGION
  stack         $stack, ${existing:-which is not there}
  tables        $([[ -n $delete_tables ]] && echo "${left:-none}" | paste -sd ' ' || echo 'none, they are kept')"
[[ -n $yes ]] || confirm "Go ahead?"

[[ -z $existing ]] || delete_stack
[[ -z $delete_tables ]] || delete_tables
delete_code

if [[ -z $delete_tables && -n $left ]]; then
  say "    kept: the tables $(echo "$left" | paste -sd ' ')
          Delete them, with all that is in them: infra/destroy.sh --stage $stage --delete-tables"
fi
say "==> $stack is gone"
