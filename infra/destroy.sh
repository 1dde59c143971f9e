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
# Functions, queues with what is in them, logs, the API and the stage's code are deleted in any case. The termination
# protection of the stack is taken off for it; that of the tables only with --delete-tables, once CloudFormation has
# confirmed that there is no such stack any more. A look-up that fails ends the script before anything is deleted, unless
# its error says "does not exist".

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

look_up_stack
look_up_tables
look_up_bucket

# plan_for_tables: a line for each table that is deleted.
plan_for_tables() {
  local table
  if [[ -z $delete_tables ]]; then
    echo "none, they are kept"
  elif ((${#left[@]} == 0)); then
    echo "none, there are none"
  else
    echo "${#left[@]}, with all that is in them, as DynamoDB counted it up to six hours ago:"
    for table in "${left[@]}"; do
      echo "                $table, ${items[$table]} items$([[ ${protected[$table]} != True ]] || echo ', protected')"
    done
  fi
}

say "This will delete in AWS:
  account       $account, as $caller
  region        $AWS_REGION
  stack         $stack, ${stack_status:-which is not there}$([[ $terminable == yes ]] || echo ', protected')
  tables        $(plan_for_tables)
  code          ${bucket:-none}${bucket:+, what $stage has in it}"
[[ -n $yes ]] || confirm "Go ahead?"

if [[ -n $stack_status ]]; then
  [[ $terminable == yes ]] ||
    aws cloudformation update-termination-protection --stack-name "$stack" --no-enable-termination-protection >/dev/null ||
    die "the termination protection of $stack could not be taken off, see above. Nothing was deleted."
  delete_stack
fi
[[ -z $delete_tables ]] || delete_tables
delete_code

if [[ -z $delete_tables && ${#left[@]} -gt 0 ]]; then
  say "    kept: the tables ${left[*]}
          Delete them, with all that is in them: infra/destroy.sh --stage $stage --delete-tables"
fi
say "==> $stack is gone"
