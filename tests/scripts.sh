#!/usr/bin/env bash
# Tests infra/deploy.sh and infra/destroy.sh against a fake AWS CLI (tests/fake_aws.sh), and which emulator infra/local.sh takes
# for its own. Needs no stack, no AWS account and no build: cargo and curl are fakes as well.
#
#   tests/scripts.sh
#
# Each scenario runs a real script in a copy of infra/ whose .local/tools has the fake. Files contain AWS's state and
# answers. The scenario checks the exit code, the output, and the calls in their order.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac

sandbox=$(mktemp -d)
trap 'rm -rf "$sandbox"' EXIT
export FAKE_AWS=$sandbox/aws
account=111122223333
ours=stepwell-code-$account-eu-west-1-0123456789ab

# ---- The sandbox -----------------------------------------------------------------------------------------------------

# fake COMMAND: puts a command on the PATH, whose script is on stdin.
fake() {
  cat >"$sandbox/bin/$1"
  chmod +x "$sandbox/bin/$1"
}

mkdir -p "$sandbox/bin" "$sandbox/.local/tools/bin" "$sandbox/functions"
cp -r "$here/../infra" "$sandbox/infra"
(cd "$here/.." && tar -cf - functions/{*,*/*}/Cargo.toml) | tar -C "$sandbox" -xf -
cp "$here/fake_aws.sh" "$sandbox/.local/tools/bin/aws"
ln -s "$(command -v python3)" "$sandbox/.local/tools/bin/python"
{ echo "$sandbox/.local/tools" && cat "$here/../infra/requirements.txt"; } >"$sandbox/.local/tools/installed"

fake cargo <<'CARGO'
#!/usr/bin/env bash
if [[ $* == *--bin=stepwell* ]]; then
  mkdir -p target/debug
  printf '%s\n' '#!/usr/bin/env bash' '! cat "$FAKE_AWS/misfit" >&2 2>/dev/null' >target/debug/stepwell
  chmod +x target/debug/stepwell
  exit
fi
for argument in "$@"; do
  [[ $argument == --package=* ]] || continue
  package=${argument#--package=}
  mkdir -p "target/lambda/$package"
  echo "$package" >"target/lambda/$package/bootstrap"
done
# A change of the stack during the build.
[[ ! -d $FAKE_AWS/open_after_build ]] || mv "$FAKE_AWS/open_after_build" "$FAKE_AWS/open"
[[ ! -f $FAKE_AWS/stack_after_build ]] || mv "$FAKE_AWS/stack_after_build" "$FAKE_AWS/stack"
CARGO
fake rustup <<<$'#!/usr/bin/env bash\nprintf "%s-unknown-linux-gnu\\n" x86_64 aarch64'
fake curl <<<$'#!/usr/bin/env bash\necho "{}"'
fake cc <<<'#!/usr/bin/env bash'

# ---- The state of AWS ------------------------------------------------------------------------------------------------

# scenario NAME: begins with an empty account.
scenario() {
  name=$1
  rm -rf "$FAKE_AWS"
  mkdir -p "$FAKE_AWS"/{tables,objects}
  touch "$FAKE_AWS"/{calls,errors,buckets}
}

has_stack() { echo "$1" >"$FAKE_AWS/stack"; }
has_termination_protection() { touch "$FAKE_AWS/termination_protection"; }
# has_tables True|False: adds tables with or without deletion protection.
has_tables() {
  local table
  for table in tasks products payments reservations orders; do echo "$1" >"$FAKE_AWS/tables/stepwell-dev-$table"; done
}
# has_open PARTITION#SHARD COUNT [MORE]: tasks of the workflow checkout that are not done.
has_open() {
  mkdir -p "$FAKE_AWS/open"
  printf '%s\t%s\n' "$2" "${3:-False}" >"$FAKE_AWS/open/$1"
}
has_bucket() { echo "$1" >>"$FAKE_AWS/buckets"; }
has_object() { mkdir -p "$(dirname "$FAKE_AWS/objects/$1")" && echo "$2" >"$FAKE_AWS/objects/$1"; }

# fails OPERATION ERROR [FROM]: fails the operation's calls from this one on, counted from 1.
fails() { printf '%s\t%s\t%s\n' "${3:-1}" "$1" "$2" >>"$FAKE_AWS/errors"; }

is_test_stage() { echo "$1" >"$FAKE_AWS/test_stage"; }

live_stage() {
  has_stack UPDATE_COMPLETE
  is_test_stage true
  has_termination_protection
  has_tables True
  has_bucket "$ours"
  has_object dev/checkout-validate_cart/00.zip x
  has_object dev/watchdog/00.zip x
}

# A live stage whose code is uploaded anew.
stage_to_update() {
  live_stage
  rm -r "$FAKE_AWS/objects/dev"
}

# ---- Expectations ----------------------------------------------------------------------------------------------------

failures=0 checks=0
ok() { checks=$((checks + 1)); }
wrong() {
  failures=$((failures + 1))
  printf 'FAILED  %s: %s\n' "$name" "$1" >&2
  sed 's/^/          said:   /' "$sandbox/said" >&2
  cut -c -150 "$FAKE_AWS/calls" | sed 's/^/          called: /' >&2
}

# runs CODE COMMAND...: runs the script, which has to end with this exit code. No run has a terminal.
runs() {
  local code=0
  (cd "$sandbox" && env -u AWS_ENDPOINT_URL -u STEPWELL_PORT -u STEPWELL_BUILD -u AWS_PROFILE -u CARGO_TARGET_DIR AWS_REGION=eu-west-1 \
    PATH="$sandbox/bin:$PATH" "${@:2}" >"$sandbox/said" 2>&1 </dev/null) || code=$?
  if [[ $code == "$1" ]]; then ok; else wrong "exit code $code instead of $1"; fi
  # The fake refuses calls that AWS itself would accept.
  if grep -q 'fake AWS:' "$sandbox/said"; then wrong "a call that should not be made"; else ok; fi
}

says() { if grep -qF -- "$1" "$sandbox/said"; then ok; else wrong "it does not say '$1'"; fi; }
says_not() { if grep -qF -- "$1" "$sandbox/said"; then wrong "it says '$1'"; else ok; fi; }
calls() { if grep -qE -- "$1" "$FAKE_AWS/calls"; then ok; else wrong "there is no call $1"; fi; }
calls_not() { if grep -qE -- "$1" "$FAKE_AWS/calls"; then wrong "there is a call $1"; else ok; fi; }

changes_nothing() {
  if grep -vE '^(sts get-caller-identity|dynamodb query|[a-z0-9]+ (describe|list|get|head)-)' "$FAKE_AWS/calls" >"$sandbox/changes"; then
    wrong "it changed something"
  else
    ok
  fi
}

# in_order CALL...: checks that these calls were made in this order. A CALL is a regular expression.
in_order() {
  local line
  while read -r line; do
    (($# > 0)) || break
    [[ ! $line =~ $1 ]] || shift
  done <"$FAKE_AWS/calls"
  if (($# == 0)); then ok; else wrong "there is no call $1, or not in its place"; fi
}

# gone FILE..., there FILE...: checks which state AWS has.
gone() {
  local file
  for file in "$@"; do
    if [[ -e $FAKE_AWS/$file ]]; then wrong "$file is still there"; else ok; fi
  done
}
there() {
  local file
  for file in "$@"; do
    if [[ -e $FAKE_AWS/$file ]]; then ok; else wrong "$file is gone"; fi
  done
}

destroy=(infra/destroy.sh --stage dev)
deploy=(infra/deploy.sh --stage dev --test-stage)
throttled='(Throttling) when calling the X operation (reached max retries: 4): Rate exceeded'
denied='(AccessDenied) when calling the X operation: User: me is not authorized to perform: X'
# The error code of "does not exist", with another message.
invalid='(ValidationError) when calling the DescribeStacks operation: 1 validation error detected'

# ---- destroy.sh ------------------------------------------------------------------------------------------------------

for error in "$throttled" "$denied" "$invalid" 'Could not connect to the endpoint URL'; do
  scenario "destroy: a live stack cannot be looked up: $error"
  live_stage
  fails 'cloudformation describe-stacks' "$error"
  runs 1 "${destroy[@]}" --delete-tables --yes
  says "aws cloudformation describe-stacks failed"
  says "$error"
  changes_nothing
done

for operation in 'dynamodb describe-table' 's3api list-buckets' 's3api head-bucket'; do
  scenario "destroy: what there is cannot be looked up: $operation"
  live_stage
  fails "$operation" "$throttled"
  runs 1 "${destroy[@]}" --delete-tables --yes
  says "aws $operation failed"
  changes_nothing
done

scenario "destroy: tasks are open"
live_stage
has_open 'pending#0' 12
has_open 'pending#15' 30
has_open 'compensating#7' 5 True
for tables in '' --delete-tables; do
  # shellcheck disable=SC2086 # an option, or nothing
  runs 1 "${destroy[@]}" $tables --yes
  says "at least 47 open: 42 pending or in progress, 5 compensating, or failed with a redrive or a compensation due"
  says "cargo stepwell list --stage dev --status pending"
  says "--abandon-open-tasks"
  changes_nothing
done

name="destroy: open tasks are given up"
runs 0 "${destroy[@]}" --abandon-open-tasks --yes
says "open tasks    at least 47 open"
gone stack

name="destroy: kept tables with open tasks"
runs 1 "${destroy[@]}" --delete-tables --yes
says "at least 47 open"
runs 0 "${destroy[@]}" --yes
there tables/stepwell-dev-tasks

scenario "destroy: open tasks cannot be counted"
live_stage
fails 'dynamodb query' "$throttled" 30
runs 1 "${destroy[@]}" --yes
says "aws dynamodb query failed"
changes_nothing

scenario "destroy: the last table cannot be looked up"
live_stage
fails 'dynamodb describe-table' "$denied" 5
runs 1 "${destroy[@]}" --delete-tables --yes
says "$denied"
changes_nothing

scenario "destroy: nobody to ask"
live_stage
runs 1 "${destroy[@]}" --delete-tables
says "5, with all that is in them"
says "stepwell-dev-orders, 7 items, protected"
says "Pass --yes"
changes_nothing

scenario "destroy: a live stack with its tables"
live_stage
runs 0 "${destroy[@]}" --delete-tables --yes
in_order 'describe-stacks' 'update-termination-protection .*--no-enable-termination-protection' 'delete-stack' \
  'wait stack-delete-complete' 'describe-stacks' 'update-table .*--no-deletion-protection-enabled' 'wait table-exists' \
  'delete-table' 's3api delete-objects' 's3api delete-bucket'
gone stack tables/stepwell-dev-{tasks,products,payments,reservations,orders} objects/dev
if [[ -s $FAKE_AWS/buckets ]]; then wrong "the bucket is still there"; else ok; fi

scenario "destroy: a live stack without its tables"
live_stage
has_object prod/checkout-validate_cart/00.zip x
runs 0 "${destroy[@]}" --yes
says "tables        none, they are kept"
says "kept: the tables stepwell-dev-tasks"
says "kept: the bucket $ours"
calls_not 'update-table|delete-table'
gone stack objects/dev
there tables/stepwell-dev-orders objects/prod/checkout-validate_cart/00.zip

scenario "destroy: tables without a stack"
has_tables True
runs 0 "${destroy[@]}" --delete-tables --yes
says "which is not there"
calls_not 'delete-stack|update-termination-protection'
in_order 'describe-stacks' 'describe-stacks' 'update-table' 'delete-table'
gone tables/stepwell-dev-{tasks,orders}

scenario "destroy: the stack's absence cannot be confirmed before its tables are deleted"
live_stage
fails 'cloudformation describe-stacks' "$throttled" 2
runs 1 "${destroy[@]}" --delete-tables --yes
says "aws cloudformation describe-stacks failed"
calls 'delete-stack'
calls_not 'update-table|delete-table|s3api delete'
there tables/stepwell-dev-orders

scenario "destroy: the stack has come back before its tables are deleted"
live_stage
touch "$FAKE_AWS/stack_comes_back"
runs 1 "${destroy[@]}" --delete-tables --yes
says "the stack stepwell-dev is still there"
calls_not 'update-table|delete-table|s3api delete'

scenario "destroy: the stack is not deleted"
live_stage
fails 'cloudformation wait' "Waiter StackDeleteComplete failed: Waiter encountered a terminal failure state"
runs 1 "${destroy[@]}" --delete-tables --yes
says "the stack stepwell-dev was not deleted"
calls_not 'update-table|delete-table|s3api delete'

scenario "destroy: termination protection cannot be taken off"
live_stage
fails 'cloudformation update-termination-protection' "$denied"
runs 1 "${destroy[@]}" --delete-tables --yes
says "Nothing was deleted"
calls_not 'delete-'

scenario "destroy: the protection of a table cannot be taken off"
live_stage
fails 'dynamodb update-table' "$denied" 2
runs 1 "${destroy[@]}" --delete-tables --yes
says "the deletion protection of the table stepwell-dev-products"
gone tables/stepwell-dev-tasks
there tables/stepwell-dev-products

scenario "destroy: the code is not deleted"
live_stage
touch "$FAKE_AWS/objects_are_locked"
runs 1 "${destroy[@]}" --yes
says "the code of dev was not deleted: Access Denied"
calls_not 'delete-bucket'

scenario "destroy: the bucket is not ours any more"
live_stage
fails 's3api head-bucket' '(403) when calling the HeadBucket operation: Forbidden'
runs 1 "${destroy[@]}" --delete-tables --yes
says "does not belong to the account $account"
changes_nothing

scenario "destroy: nothing there at all"
runs 0 "${destroy[@]}" --delete-tables --yes
changes_nothing

# ---- deploy.sh -------------------------------------------------------------------------------------------------------

for error in "$throttled" "$denied" "$invalid"; do
  scenario "deploy: the stack cannot be looked up: $error"
  live_stage
  fails 'cloudformation describe-stacks' "$error"
  runs 1 "${deploy[@]}" --yes
  says "aws cloudformation describe-stacks failed"
  says_not "--delete-tables"
  changes_nothing
done

scenario "deploy: the parts of the project do not fit together"
live_stage
echo "infra/template.yaml: is stale" >"$FAKE_AWS/misfit"
runs 1 "${deploy[@]}" --yes
says "infra/template.yaml: is stale"
says "do not fit together"
changes_nothing

scenario "deploy: nothing is compiled for a caller whom AWS does not know"
echo "infra/template.yaml: is stale" >"$FAKE_AWS/misfit"
fails 'sts get-caller-identity' "$denied"
runs 1 "${deploy[@]}" --yes
says "AWS does not say who you are"
says_not "do not fit together"

scenario "deploy: a stage whose name is too long"
runs 1 infra/deploy.sh --stage abcdefghijk --yes
says "1 to 10 small letters and digits"
calls_not '.'

scenario "deploy: tables cannot be looked up"
fails 'dynamodb describe-table' "$throttled"
runs 1 "${deploy[@]}" --yes
says "aws dynamodb describe-table failed"
changes_nothing

scenario "deploy: tables of an earlier stack"
has_tables True
runs 1 "${deploy[@]}" --yes
says "stepwell-dev-orders"
says "infra/deploy.sh --stage dev --adopt-tables"
changes_nothing

scenario "deploy: tables of an earlier stack are taken over"
has_tables True
echo False >"$FAKE_AWS/tables/stepwell-dev-orders"
runs 0 "${deploy[@]}" --adopt-tables --set 'ShippingRates=[{"price":15.00,"a":1}]' --yes
says "5 are taken over"
in_order 'update-table --table-name stepwell-dev-orders --deletion-protection-enabled' 'wait table-exists' \
  'create-change-set .*--change-set-type CREATE --import-existing-resources' 'wait change-set-create-complete' \
  'describe-change-set' 'execute-change-set' 'wait stack-create-complete' 'list-functions' \
  'update-termination-protection .*--enable-termination-protection'
calls 'create-change-set .*"ParameterKey": "ShippingRates", "ParameterValue": "\[\{\\"price\\":15.00,\\"a\\":1\}\]"'
calls_not 'cloudformation deploy|delete-table|no-deletion-protection'
if [[ $(grep -c 'update-table' "$FAKE_AWS/calls") == 1 ]]; then ok; else wrong "it touches tables that are protected"; fi

scenario "deploy: CloudFormation would make a kept table anew"
has_tables True
echo Add >"$FAKE_AWS/action_stepwell-dev-payments"
runs 1 "${deploy[@]}" --adopt-tables --yes
says "CloudFormation would not take over the table stepwell-dev-payments"
calls_not 'execute-change-set|cloudformation deploy'

scenario "deploy: a change set that takes tables over cannot be made"
has_tables True
fails 'cloudformation wait' "Waiter ChangeSetCreateComplete failed"
runs 1 "${deploy[@]}" --adopt-tables --yes
says "no change set could be made that takes over the tables"
calls_not 'execute-change-set|cloudformation deploy'

scenario "deploy: kept tables are not taken over without protection"
has_tables True
runs 1 "${deploy[@]}" --adopt-tables --set ProtectTables=false --yes
says "only if they are protected"
changes_nothing

scenario "deploy: there are no tables to take over"
runs 1 "${deploy[@]}" --adopt-tables --yes
says "there is no table of an earlier stepwell-dev to take over"
changes_nothing

scenario "deploy: the tables to take over belong to the live stack"
live_stage
runs 1 "${deploy[@]}" --adopt-tables --yes
says "there is a stack stepwell-dev, which has its tables"
changes_nothing

scenario "deploy: a step is removed while tasks of its workflow are open"
live_stage
echo checkout-check_fraud >"$FAKE_AWS/old_steps"
has_open 'pending#3' 2
has_open 'compensating#15' 1
runs 1 "${deploy[@]}" --yes
says "this version has no longer checkout-check_fraud, and of the workflow checkout"
says "3 open: 2 pending or in progress, 1 compensating"
says "cargo stepwell list --stage dev --status pending"
says_not "Building"
changes_nothing

scenario "deploy: a step is removed, and its open tasks are given up"
stage_to_update
echo checkout-check_fraud >"$FAKE_AWS/old_steps"
has_open 'pending#3' 2
runs 0 "${deploy[@]}" --abandon-open-tasks --yes
calls 'cloudformation deploy'

scenario "deploy: a step of a workflow without open tasks is removed"
stage_to_update
echo returns-inspect >"$FAKE_AWS/old_steps"
has_open 'pending#3' 2
runs 0 "${deploy[@]}" --yes
calls 'cloudformation deploy'

scenario "deploy: tasks were started while the version without a step was built"
live_stage
echo checkout-check_fraud >"$FAKE_AWS/old_steps"
mkdir "$FAKE_AWS/open_after_build"
printf '1\tFalse\n' >"$FAKE_AWS/open_after_build/pending#0"
runs 1 "${deploy[@]}" --yes
says "1 open"
changes_nothing

scenario "deploy: no step is removed, whatever is open"
stage_to_update
has_open 'pending#3' 2
runs 0 "${deploy[@]}" --yes
calls_not 'dynamodb query'

scenario "deploy: open tasks cannot be counted"
live_stage
echo checkout-check_fraud >"$FAKE_AWS/old_steps"
fails 'dynamodb query' "$throttled" 20
runs 1 "${deploy[@]}" --yes
says "aws dynamodb query failed"
changes_nothing

scenario "deploy: the bucket is somebody else's"
has_bucket "$ours"
fails 's3api head-bucket' '(403) when calling the HeadBucket operation: Forbidden'
runs 1 "${deploy[@]}" --yes
says "does not belong to the account $account"
changes_nothing

scenario "deploy: buckets cannot be listed"
fails 's3api list-buckets' "$denied"
runs 1 "${deploy[@]}" --yes
says "aws s3api list-buckets failed"
changes_nothing

for undeclared in '' '--set TestStage=false'; do
  scenario "deploy: a new stage that is not declared a test stage: $undeclared"
  # shellcheck disable=SC2086 # an option and its value
  runs 1 infra/deploy.sh --stage prod --yes $undeclared
  says "the stage prod is not declared a test stage"
  says "infra/deploy.sh --stage prod --test-stage"
  says_not "Building"
  changes_nothing
done

for earlier in false None; do
  scenario "deploy: a live stage that is not a test stage: $earlier"
  live_stage
  is_test_stage "$earlier"
  runs 1 infra/deploy.sh --stage dev --yes
  says "is not declared a test stage"
  says_not "Building"
  changes_nothing
done

scenario "deploy: a live test stage is not made another"
live_stage
runs 1 infra/deploy.sh --stage dev --yes --set TestStage=false
says "is not declared a test stage"
changes_nothing

scenario "deploy: a stage declared a test stage before its first deployment failed has to be declared again"
has_stack ROLLBACK_COMPLETE
is_test_stage true
runs 1 infra/deploy.sh --stage dev --yes
says "is not declared a test stage"
changes_nothing

scenario "deploy: for the first time"
runs 0 "${deploy[@]}" --yes
says "in a bucket that is made for it"
in_order 's3api list-buckets' "s3api create-bucket --bucket stepwell-code-$account-eu-west-1-[0-9a-f]{12} " \
  's3api put-public-access-block' 's3api put-bucket-encryption' 's3api put-object .*--checksum-sha256' \
  "cloudformation deploy .*--s3-bucket stepwell-code-$account-eu-west-1-.*ProtectTables=false" \
  'cloudformation deploy .*--parameter-overrides ProtectTables=true' \
  'update-termination-protection .*--enable-termination-protection'
if [[ $(grep -c 's3api put-object' "$FAKE_AWS/calls") -eq $(find "$sandbox/functions" -name Cargo.toml | wc -l) ]]; then
  ok
else
  wrong "it does not upload every function"
fi
calls_not 'delete-'

# The next run finds the state that this one leaves, a declared test stage among it.
name="deploy: again"
: >"$FAKE_AWS/calls"
runs 0 infra/deploy.sh --stage dev --yes
says "a test stage: the simulated payment gateway"
calls 'cloudformation deploy .* TestStage=true'
calls_not 'create-bucket|put-object|delete-|ProtectTables=false'
in_order 's3api put-public-access-block' 's3api put-bucket-encryption' 'cloudformation deploy .*ProtectTables=true'

name="deploy: again, where an object in the bucket is not what was uploaded"
: >"$FAKE_AWS/calls"
object=$(find "$FAKE_AWS/objects/dev/checkout-process_payment" -type f)
echo "somebody else's" >"$object"
runs 0 "${deploy[@]}" --yes
calls "put-object .*--key dev/checkout-process_payment/"
if [[ $(grep -c put-object "$FAKE_AWS/calls") == 1 ]]; then ok; else wrong "it uploads more than that"; fi

name="deploy: again, where an object cannot be looked up"
: >"$FAKE_AWS/calls"
fails 's3api head-object' '(403) when calling the HeadObject operation: Forbidden'
runs 1 "${deploy[@]}" --yes
says "aws s3api head-object failed"
calls_not 'put-object|cloudformation deploy'

scenario "deploy: buckets whose names only look like it"
has_bucket "stepwell-code-$account-eu-west-1"
has_bucket "stepwell-code-$account-eu-west-1-mine"
has_bucket "stepwell-code-$account-eu-west-10123456789ab"
runs 0 "${deploy[@]}" --yes
calls 's3api create-bucket'

scenario "deploy: without protected tables"
runs 0 "${deploy[@]}" --set ProtectTables=false --yes
says "the stack, but not its tables"
calls_not 'ProtectTables=true'

scenario "deploy: a first deployment that failed, and nobody to ask"
has_stack ROLLBACK_COMPLETE
runs 1 "${deploy[@]}"
says "now ROLLBACK_COMPLETE: its first deployment failed and left nothing. It is deleted, and made anew"
changes_nothing

scenario "deploy: a first deployment that failed"
has_stack ROLLBACK_COMPLETE
runs 0 "${deploy[@]}" --yes
in_order 'delete-stack' 'wait stack-delete-complete' 'cloudformation deploy .*ProtectTables=false' 'ProtectTables=true'

scenario "deploy: a first deployment that failed while this one was built"
echo ROLLBACK_COMPLETE >"$FAKE_AWS/stack_after_build"
runs 1 "${deploy[@]}" --yes
says "was not there, and is ROLLBACK_COMPLETE now"
changes_nothing

scenario "deploy: a stack that came to life while this one was built is not unprotected"
echo CREATE_COMPLETE >"$FAKE_AWS/stack_after_build"
runs 1 "${deploy[@]}" --yes
changes_nothing

scenario "deploy: the termination protection cannot be set"
fails 'cloudformation update-termination-protection' "$denied"
runs 1 "${deploy[@]}" --yes
says "is deployed, but not protected"

scenario "deploy: SES does not answer"
fails 'sesv2 get-email-identity' "$denied"
runs 0 "${deploy[@]}" --yes
says "It is not known whether SES has verified"

# ---- local.sh --------------------------------------------------------------------------------------------------------

# An emulator of ours on port 4640. The fake curl makes it seem that something answers on every port.
emulator_state=$(cd "$sandbox" && pwd)/.local/4640
has_emulator() {
  mkdir -p "$emulator_state" && rm -f "$emulator_state/begun"
  echo "export API=http://127.0.0.1:4640" >"$emulator_state/env"
  echo fast >"$emulator_state/build"
  STEPWELL_STATE=$emulator_state python3 -c 'import os, time; os.setsid(); open(os.environ["STEPWELL_STATE"] + "/begun", "w"); time.sleep(60)' &
  emulator=$!
  disown "$emulator"
  until [[ -e $emulator_state/begun ]]; do sleep 0.1; done
  echo "$emulator" >"$emulator_state/pid"
}
emulator_lives() { if kill -0 "$emulator" 2>/dev/null; then ok; else wrong "the emulator does not run any more"; fi; }
emulator_is_gone() { if kill -0 "$emulator" 2>/dev/null; then wrong "the emulator still runs"; else ok; fi; }
local_sh() { runs "$1" env "${@:2:$#-2}" infra/local.sh "${!#}"; }

scenario "local: two variables name two stacks"
has_stack CREATE_COMPLETE
has_emulator
for command in up url status down; do
  local_sh 1 AWS_ENDPOINT_URL=http://127.0.0.1:4640 STEPWELL_PORT=4650 "$command"
  says "STEPWELL_PORT is 4650, but AWS_ENDPOINT_URL is http://127.0.0.1:4640. Nothing was done."
  says "unset AWS_ENDPOINT_URL"
done
local_sh 1 AWS_ENDPOINT_URL=http://192.0.2.1:4640 down
says "a stack of this repository runs on port 4640"
emulator_lives
calls_not '.'

name="local: the stacks that run are named to whoever asks for another"
local_sh 1 STEPWELL_PORT=4650 url
says "the local stack on port 4650 is not up"
says "export STEPWELL_PORT=4640      # the fast build"

for variables in AWS_ENDPOINT_URL=http://localhost:4640 "AWS_ENDPOINT_URL=http://127.0.0.1:4640/ STEPWELL_PORT=4640" STEPWELL_PORT=4640; do
  scenario "local: a stack of ours is known again and stopped: $variables"
  kill -0 "$emulator" 2>/dev/null || has_emulator
  # shellcheck disable=SC2086 # they are words
  local_sh 0 $variables url
  says "http://127.0.0.1:4640"
  # shellcheck disable=SC2086
  local_sh 0 $variables down
  says "==> Stopping MiniStack"
  calls_not '.'
  emulator_is_gone
done

scenario "local: an emulator of somebody else's is not stopped"
local_sh 0 AWS_ENDPOINT_URL=http://127.0.0.1:4640 down
says_not "Stopping MiniStack"
calls 'describe-stacks'

scenario "local: a stack that is being started"
echo 4640 >"$sandbox/.local/starting"
local_sh 1 STEPWELL_PORT=4640 url
says "the local stack on port 4640 is not up. Start it: STEPWELL_PORT=4640 infra/local.sh up"
exec 8>>"$sandbox/.local/local.lock"
python3 -c 'import fcntl; fcntl.flock(8, fcntl.LOCK_EX)'
local_sh 1 STEPWELL_PORT=4640 url
says "the local stack on port 4640 is being started by another infra/local.sh"
says_not "Start it"
local_sh 1 STEPWELL_PORT=4650 url
says "the local stack on port 4650 is not up"
exec 8>&-

if ((failures > 0)); then
  printf '%s of %s checks failed\n' "$failures" "$((checks + failures))" >&2
  exit 1
fi
printf 'ok: %s checks\n' "$checks" >&2
