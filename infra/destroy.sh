#!/usr/bin/env bash
# Takes a stage of Stepwell down that infra/deploy.sh has put into AWS.
#
#   infra/destroy.sh --stage NAME [--region REGION] [--delete-tables] [--abandon-open-tasks] [--yes]
#
#   --stage NAME       which Stepwell; its stack is stepwell-NAME
#   --region REGION    where; if not said, what your AWS configuration says
#   --delete-tables    delete the tables too, with every order and payment in them; they are kept if not said
#   --abandon-open-tasks
#                      go on although tasks are open, which is refused otherwise. Nobody finishes, refunds or undoes them
#                      once the stack is gone; infra/deploy.sh --adopt-tables can bring back a stack that does
#   --yes              do not ask
#   --install          install missing Debian packages with sudo; else that is done as root only
#
# Functions, queues with what is in them, logs, the API and the stage's code are deleted in any case. The termination
# protection of the stack is taken off for it; that of the tables only with --delete-tables, once CloudFormation has
# confirmed that there is no such stack any more. A look-up that fails ends the script before anything is deleted, unless
# its error says "does not exist".

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

region='' yes='' delete_tables='' stage='' abandon=''
while (($#)); do
  [[ ! $1 =~ ^--(stage|region)$ || $# -gt 1 ]] || die "$1 needs a value. See infra/destroy.sh --help"
  case $1 in
    --stage) stage=$2 && shift ;;
    --region) region=$2 && shift ;;
    --delete-tables) delete_tables=yes ;;
    --abandon-open-tasks) abandon=yes ;;
    --yes) yes=yes ;;
    -h | --help) usage && exit ;;
    *) die "there is no option '$1'. See infra/destroy.sh --help" ;;
  esac
  shift
done
[[ -n $stage ]] || die "say which stage: infra/destroy.sh --stage NAME"
use_stage "$stage"

need_tools
need_account "$region"

look_up_stack
look_up_tables
look_up_bucket
# Kept tables lose nothing, but their deletion would take open tasks along.
open=
[[ -z $stack_status && -z $delete_tables ]] || look_up_open_tasks ''
[[ -z $open || -n $abandon ]] || die "$stack has tasks that are not done, $open.
Without the stack nobody finishes, refunds or undoes them. Nothing was deleted. See them:
$(show_open_tasks)
Wait until they have ended. So that no new ones start meanwhile, close the shop's API:
  aws lambda put-function-concurrency --function-name $stack-checkout_api --reserved-concurrent-executions 0
To give them up all the same, add --abandon-open-tasks"

plan="none, they are kept"
[[ -z $delete_tables ]] || plan="none, there are none"
[[ -z $delete_tables || -z $left ]] || plan="$(($(wc -l <<<"$left"))), with all that is in them, as DynamoDB counted it up to six hours ago:
$(awk '{ print "                " $1 ", " $2 " items" ($3 == "True" ? ", protected" : "") }' <<<"$left")"

say "This will delete in AWS:
  account       $account, as $caller
  region        $AWS_REGION
  stack         $stack, ${stack_status:-which is not there}$([[ $terminable == yes ]] || echo ', protected')
  open tasks    ${open:-none}
  tables        $plan
  code          ${bucket:-none}${bucket:+, what $stage has in it}"
[[ -n $yes ]] || confirm "Go ahead?"

if [[ -n $stack_status ]]; then
  [[ $terminable == yes ]] ||
    change "the termination protection of $stack could not be taken off. Nothing was deleted" \
      cloudformation update-termination-protection --stack-name "$stack" --no-enable-termination-protection
  delete_stack
fi
[[ -z $delete_tables ]] || delete_tables
delete_code

if [[ -z $delete_tables && -n $left ]]; then
  say "    kept: the tables $(cut -d' ' -f1 <<<"$left" | tr '\n' ' ')
          Take them over into a new stack: infra/deploy.sh --stage $stage --adopt-tables
          Delete them, with all that is in them: infra/destroy.sh --stage $stage --delete-tables"
fi
say "==> $stack is gone"
