#!/usr/bin/env bash
# Deploys Stepwell to AWS, or brings what is deployed up to date. Prints the API's base URL as its last line.
#
#   infra/deploy.sh --stage NAME [options]
#
#   --stage NAME          which Stepwell, such as dev or prod; it becomes the stack stepwell-NAME. At most 10 characters
#   --test-stage          this stage sells nothing real. The payment gateway so far is a simulated one that takes test cards
#                         from anybody and moves no money, so it is refused for every other stage. To be said once: the
#                         stack keeps it, as the parameter TestStage
#   --region REGION       where; if not said, what your AWS configuration says
#   --arch ARCH           arm64, cheaper and the default, or x86_64
#   --set NAME=VALUE      a parameter of infra/template.yaml, such as MailSender=orders@example.com; may be repeated.
#                         One that is not set keeps the value it has; NAME= sets it to nothing. Only ProtectTables=false
#                         has to be set each time: the tables are protected from deletion unless it is said
#   --adopt-tables        make the stack around the tables that an earlier one of this name has left
#   --abandon-open-tasks  go on although a step is removed or renamed that open tasks may still have to run, which is refused
#                         otherwise: their messages would have no queue
#   --sample-data         load the sample products, leaving those that are there as they are
#   --yes                 do not ask
#   --install             install missing Debian packages with sudo; else that is done as root only
#
# The code goes into a bucket of the account, stepwell-code-ACCOUNT-REGION- and a random part, made if there is none. The
# stack gets termination protection, which infra/destroy.sh takes off. A stack whose first deployment failed
# (ROLLBACK_COMPLETE) is deleted and made anew, after asking. A look-up that fails ends the script before anything is
# changed, unless its error says "does not exist".
#
# Your AWS credentials are taken from where every AWS tool takes them: AWS_PROFILE, AWS_ACCESS_KEY_ID, ...

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

arch=arm64 region='' yes='' sample_data='' stage='' settings=() protect=true declared='' abandon=''
while (($#)); do
  [[ ! $1 =~ ^--(stage|region|arch|set)$ || $# -gt 1 ]] || die "$1 needs a value. See infra/deploy.sh --help"
  case $1 in
    --stage) stage=$2 && shift ;;
    --region) region=$2 && shift ;;
    --arch) arch=$2 && shift ;;
    --set)
      [[ $2 =~ ^[A-Za-z]+= ]] || die "--set wants NAME=VALUE, not '$2'"
      case $2 in
        ProtectTables=*) protect=${2#*=} ;;
        TestStage=*) declared=${2#*=} ;;
        *) settings+=("$2") ;;
      esac
      shift
      ;;
    --test-stage) declared=true ;;
    --adopt-tables) adopt=yes ;;
    --abandon-open-tasks) abandon=yes ;;
    --sample-data) sample_data=yes ;;
    --yes) yes=yes ;;
    -h | --help) usage && exit ;;
    *) die "there is no option '$1'. See infra/deploy.sh --help" ;;
  esac
  shift
done
[[ -n $stage ]] || die "say which stage: infra/deploy.sh --stage NAME"
use_stage "$stage"
[[ $arch == arm64 || $arch == x86_64 ]] || die "--arch is arm64 or x86_64, not '$arch'"
[[ $protect == true || $protect == false ]] || die "ProtectTables is true or false, not '$protect'"

# It is a hint and no more, so that a question without an answer does not end what has been deployed by now.
warn_of_unverified_sender() {
  local identity said
  answer=$(aws lambda get-function-configuration --function-name "$stack-checkout_api" --output text \
    --query Environment.Variables.SHOP_MAIL_SENDER) || return 0
  for identity in "${answer#*@}" "$answer"; do
    said=$(aws sesv2 get-email-identity --email-identity "$identity" --query VerifiedForSendingStatus --output text 2>&1) || true
    [[ $said != True ]] || return 0
  done
  case $said in
    False | *NotFoundException*) said="SES has not verified $answer, which confirmations need." ;;
    *) said="It is not known whether SES has verified $answer, which confirmations need: ${said#$'\n'}" ;;
  esac
  say "    note: $said
          Verify it, or set the parameter MailSender to an address that is verified."
}

# Open tasks store which steps they have to run. A step's queue goes with the step, and messages to it have no place left.
refuse_removed_steps() {
  local queue workflow removed='' known
  known=$'\n'$(sed -n 's/^\([^# ]*\) .*/\1/p' "$infra/functions.txt")$'\nundeliverable\n'
  ask '' cloudformation list-stack-resources --stack-name "$stack" --output text --query \
    "StackResourceSummaries[?ResourceType=='AWS::SQS::Queue'].[PhysicalResourceId]"
  for queue in $answer; do
    queue=${queue##*"$stack-"}
    [[ $known == *$'\n'"$queue"$'\n'* ]] || removed+="${removed:+ }$queue"
  done
  for workflow in $(tr ' ' '\n' <<<"$removed" | sed 's/-.*//' | sort -u); do
    look_up_open_tasks "$workflow"
    [[ -z $open || -n $abandon ]] || die "this version has no longer ${removed// /, }, and of the workflow $workflow
$open.
A task keeps the steps that it was started with, and would wait for a step that is gone for ever. Nothing was deployed.
See them:
$(show_open_tasks)
Wait until they have ended. So that no new ones start meanwhile, close the shop's API:
  aws lambda put-function-concurrency --function-name $stack-checkout_api --reserved-concurrent-executions 0
and open it again after the deployment with: aws lambda delete-function-concurrency --function-name $stack-checkout_api
To give them up all the same, add --abandon-open-tasks"
  done
}

begin tools
need_tools
begin ''
need_account "$region"
if command -v rustup >/dev/null; then
  rust_target=$([[ $arch == arm64 ]] && echo aarch64 || echo x86_64)-unknown-linux-gnu
  installed=$(cd "$repo" && rustup target list --installed) || die "rustup does not work, see above"
  grep -qx "$rust_target" <<<"$installed" || die "Rust cannot build for $arch yet. Run: rustup target add $rust_target"
fi
# It compiles, so it comes after what can be refused at once.
check_project
begin ''

look_up_stack
existing=$stack_status first='' fate=
case $existing in
  '' | REVIEW_IN_PROGRESS) first=yes ;;
  ROLLBACK_COMPLETE) first=yes fate=': its first deployment failed and left nothing. It is deleted, and made anew' ;;
esac
if [[ -n $first ]]; then
  look_up_tables
  # CloudFormation would fail on the first of them, and roll everything back.
  [[ -z $left || $adopt == yes ]] || die "these tables of an earlier $stack were kept:
$(cut -d' ' -f1 <<<"$left")
Take them over, with all that is in them: infra/deploy.sh --stage $stage --adopt-tables
Or delete them and all that is in them: infra/destroy.sh --stage $stage --delete-tables"
  [[ -n $left || -z $adopt ]] || die "there is no table of an earlier $stack to take over. Leave out --adopt-tables"
  [[ -z $adopt || $protect == true ]] || die "tables can be taken over only if they are protected from deletion.
Leave out ProtectTables=false. Once $stack is deployed, a further deployment with it takes the protection off."
else
  [[ -z $adopt ]] || die "there is a stack $stack, which has its tables. Leave out --adopt-tables"
  refuse_removed_steps
fi
[[ -n $declared || -n $first ]] || declared=$test_stage
[[ $declared == true ]] || die "the stage $stage is not declared a test stage, and so cannot have the simulated payment gateway,
the only one so far: it takes test cards from anybody and moves no money. Nothing was built or deployed.
If $stage sells nothing real, say so: infra/deploy.sh --stage $stage --test-stage
If it does, give it a real gateway first: AwsShop::gateway in shared/checkout_aws/src/shop.rs"
look_up_bucket

say "This will $([[ -z $first ]] && echo update || echo create) in AWS:
  account       $account, as $caller
  region        $AWS_REGION
  stack         $stack${existing:+, now $existing}$fate
  stage         a test stage: the simulated payment gateway takes test cards from anybody and moves no money
  code          ${bucket:-in a bucket that is made for it}
  functions     ${#packages[@]}, for $arch
  parameters    ${settings[*]:-as they are}
  tables        $([[ -n $adopt ]] && echo "$(($(wc -l <<<"$left"))) are taken over, with all that is in them" || echo "those of the stack")
  protection    $([[ $protect == true ]] && echo 'the stack and its tables' || echo 'the stack, but not its tables')
  sample data   ${sample_data:-no}"
[[ -n $yes ]] || confirm "Go ahead?"

build_functions "$arch"
package "$repo/.local/$stack"
# The build takes minutes, and what is done below was agreed to for the stack as it was before.
look_up_stack
[[ $stack_status == "$existing" ]] ||
  die "the stack $stack was ${existing:-not there}, and is ${stack_status:-gone} now. Run this again."
[[ -n $first ]] || refuse_removed_steps
[[ $existing != ROLLBACK_COMPLETE ]] || delete_stack
begin deploy
# CloudFormation cannot roll a first deployment back if its tables are protected, so that is an update of its own. Tables
# that are taken over must not be deleted by a rollback, and are protected from the beginning.
deploy "$repo/.local/$stack" "$arch" ${settings[@]+"${settings[@]}"} \
  TestStage=true "ProtectTables=$([[ -n $first && -z $adopt ]] && echo false || echo "$protect")"
if [[ -n $first && -z $adopt && $protect == true ]]; then
  say "==> Protecting the tables of $stack"
  deploy_template ProtectTables=true
fi
change "$stack is deployed, but not protected from deletion: run this again" \
  cloudformation update-termination-protection --stack-name "$stack" --enable-termination-protection
[[ -z $sample_data ]] || load_products

begin ready
# A new role's rights take some seconds to be known everywhere in AWS.
look_up_url
smoke_test "$url" 60
warn_of_unverified_sender
begin ''
say "==> $stack is deployed ($phases). Its logs:
      cargo stepwell logs --stage $stage --region $AWS_REGION --follow${console:+
    The console, for people of its pool (README.md, "The console"):
      $console}"
echo "$url"
