#!/usr/bin/env bash
# Tests what only a stack with other parameters has: which callers it accepts if its operators have tokens (the template's OperatorJwtIssuer), the
# console behind a login at Cognito (ConsoleDomain), and the spans that its functions send to a collector (CollectorLayer), whose place on port 4318 a
# receiver of this script takes:
#
#   eval "$(infra/local.sh env)"
#   tests/tokens.sh
#
# Where STEPWELL_PAGES_TOOLS and STEPWELL_CHROMIUM are set, as tests/run.sh sets them, a browser logs in as well.
#
# It deploys a second stack, stepwell-tokens, from the same code as the local one, and deletes it at the end.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/../infra/lib.sh"

case ${1:-} in -h | --help) usage && exit ;; esac
if [[ -z ${AWS_ENDPOINT_URL:-} || -z ${STEPWELL_PORT:-} ]]; then
  # shellcheck disable=SC2016 # it is to be typed as it stands
  die 'there is no local stack here. Start one with infra/local.sh up, then: eval "$(infra/local.sh env)"'
fi
need_tools
use_stage tokens

run_cargo build --workspace --features lambda --bin spans || die "the receiver of spans could not be built, see above"
folder=$(mktemp -d)
"$target/debug/spans" >"$folder/spans" &
receiver=$!
"$tools/bin/python" "$repo/tests/tokens.py" "$folder" "$stack" operators-app &
provider=$!

layer=
clean() {
  local code=$?
  kill "$provider" "$receiver" 2>/dev/null || true
  rm -rf "$folder"
  # Each ends the script with an exit code if it fails.
  look_up_stack
  [[ -z $stack_status ]] || delete_stack
  delete_tables
  delete_code
  [[ -z $layer ]] || aws lambda delete-layer-version --layer-name "$stack-collector" --version-number "${layer##*:}"
  exit "$code"
}
trap clean EXIT

until [[ -f $folder/issuer ]]; do
  kill -0 "$provider" 2>/dev/null || die "the OpenID provider did not start, see above"
  sleep 0.1
done
until [[ -s $folder/spans ]]; do
  kill -0 "$receiver" 2>/dev/null || die "the receiver of spans did not start, see above"
  sleep 0.1
done
# Only its name matters here.
python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1], "w").writestr("collector-config/config.yaml", "")' "$folder/layer.zip"
layer=$(aws lambda publish-layer-version --layer-name "$stack-collector" --zip-file "fileb://$folder/layer.zip" --query LayerVersionArn --output text)
deploy "$repo/.local/$STEPWELL_PORT/code" "$(architecture)" ProtectTables=false TestStage=true "OperatorJwtIssuer=$(<"$folder/issuer")" \
  OperatorJwtAudience=operators-app "ConsoleDomain=$stack-console" "CollectorLayer=$layer"
load_products
look_up_url

failed=0
# expect WHAT CODE TEXT COMMAND...: checks that the command ends with this exit code, and prints this text.
expect() {
  local what=$1 code=$2 text=$3 found=0 said
  said=$("${@:4}" 2>&1) || found=$?
  if [[ $found == "$code" && $said == *"$text"* ]]; then
    say "ok      $what"
  else
    say "FAILED  $what: exit code $found instead of $code, or not '$text': $said"
    failed=1
  fi
}

# tasks TOKEN WORD...: runs the command stepwell, which infra/local.sh has built, with this token; with a signature if that is `none`.
tasks() {
  local token=
  [[ $1 == none ]] || token=$(<"$folder/$1")
  "$target/debug/stepwell" "${@:2}" --url "$url" ${token:+--token "$token"}
}

trace=4bf92f3577b34da6a3ce929d0e0e4736 span=00f067aa0ba902b7
# buy [HEADER]: starts a checkout, waits for its end and prints its task.
buy() {
  curl -fsS "$url/checkout?wait=20" -H "Content-Type: application/json" ${1:+-H "$1"} -d "@$repo/events/requests/success.json" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["task_id"])'
}
task=$(buy "traceparent: 00-$trace-$span-01")

for token in other_audience other_issuer other_key expired; do
  expect "a token that is not as it should be, $token, opens nothing" 4 "(401)" tasks "$token" show "$task"
  expect "and changes nothing" 4 "(401)" tasks "$token" cancel "$task" --reason test
done
expect "nor does a signature" 4 "(401)" tasks none show "$task"
expect "nor does nothing at all" 22 401 curl -fsS "$url/tasks/$task"

expect "nor does the token of somebody who is no operator" 4 "(403)" tasks no_scope show "$task"

expect "a reader's token opens the list" 0 "$task" tasks reader list
expect "and the task" 0 '"actions":[]' tasks reader show "$task" --json
expect "and changes nothing" 4 "to change something tasks.write" tasks reader cancel "$task" --reason test
expect "nor does it count tasks in order to change them" 4 "(403)" tasks reader redrive --status error --reason test

# reveal TOKEN: asks for the input of the task.
reveal() { curl -fsS -X POST "$url/tasks/$task/reveal" -H "Authorization: Bearer $(<"$folder/$1")"; }
expect "nor does it show the input" 22 403 reveal reader
expect "which an operator's token does not either" 22 403 reveal operator
expect "but one with a scope of its own does" 0 '"hidden":["/payment_info/token"]' reveal revealer
expect "and that opens nothing else" 4 "(403)" tasks revealer show "$task"

expect "an operator's token opens the list" 0 "$task" tasks operator list
expect "and the task, to which nothing was done yet" 0 '"actions":[]' tasks operator show "$task" --json
expect "and lets the operator act" 0 "$task is compensating now" tasks operator cancel "$task" --reason "a test"
card='{"payment_info": {"token": "test_success_visa"}}'
expect "but starts none" 4 "that needs the scope start" tasks operator copy "$task" --patch "$card" --reason "a test"
expect "for which there is a scope of its own" 0 " is a copy of $task" tasks starter copy "$task" --patch "$card" --reason "a test"
expect "whose name is in the audit trail" 0 "by ada ($(<"$folder/issuer")): a test" tasks operator show "$task"

# ---- The console ---------------------------------------------------------------------------------------------------------

output() { aws cloudformation describe-stacks --stack-name "$stack" --output text --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"; }
pool=$(output ConsolePool) password=Emulated-Cognito-1
client=$(aws cognito-idp list-user-pool-clients --user-pool-id "$pool" --output text --query 'UserPoolClients[0].ClientId')
for person in carol dave; do
  change "$person was not made" cognito-idp admin-create-user --user-pool-id "$pool" --username "$person" \
    --temporary-password "$password-0" --message-action SUPPRESS
  change "$person has no password" cognito-idp admin-set-user-password --user-pool-id "$pool" --username "$person" --password "$password" --permanent
done
change "carol is no operator" cognito-idp admin-add-user-to-group --user-pool-id "$pool" --username carol --group-name operators

# log_in PERSON: leaves the access token of a login at Cognito's page, with the verifier and the challenge of RFC 7636, in the file PERSON.
log_in() {
  local at code
  at=$(curl -fsS -o /dev/null -w '%{redirect_url}' "$AWS_ENDPOINT_URL/login" -d response_type=code -d state=s -d "client_id=$client" \
    -d "redirect_uri=$console" -d scope=openid -d "username=$1" -d "password=$password" \
    -d code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM -d code_challenge_method=S256)
  code=${at##*code=}
  curl -fsS "$AWS_ENDPOINT_URL/oauth2/token" -d grant_type=authorization_code -d "client_id=$client" -d "redirect_uri=$console" \
    -d "code=${code%%&*}" -d code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])' >"$folder/$1"
}
log_in carol
log_in dave

expect "the console's files are for everybody" 0 'src="/console/app.js"' curl -fsS "$url/console"
expect "also those below its address" 0 "" curl -fsS -o /dev/null "$url/console/login.js"
expect "and say where one logs in" 0 "https://$stack-console.auth.$AWS_REGION.amazoncognito.com/oauth2/authorize" curl -fsS "$url/console/session"
expect "but its API is for nobody else" 22 401 curl -fsS "$url/api/tasks/$task"
expect "not even for an operator with another issuer's token" 22 401 curl -fsS -H "Authorization: Bearer $(<"$folder/operator")" "$url/api/tasks/$task"
expect "nor is the operators' API for the console's people" 4 "(401)" tasks carol show "$task"
of_console() { "$target/debug/stepwell" "${@:2}" --url "$url/api" --token "$(<"$folder/$1")"; }
expect "a person of the console looks" 0 "$task" of_console dave list
task=$(buy)
expect "and does not act outside of the group" 4 "dave (console) may look, and not act" of_console dave cancel "$task" --reason test
expect "an operator of the console acts" 0 "$task is compensating now" of_console carol cancel "$task" --reason "the customer called"
expect "and the audit trail has the name" 0 "by carol (console): the customer called" of_console dave show "$task"

if [[ -n ${STEPWELL_PAGES_TOOLS:-} ]]; then
  STEPWELL_CONSOLE=$console STEPWELL_LOGIN=https://$stack-console.auth.$AWS_REGION.amazoncognito.com STEPWELL_PASSWORD=$password \
    node --test --test-reporter=spec "$repo/tests/pages/login.test.mjs" >&2 || failed=1
fi

# ---- Spans ---------------------------------------------------------------------------------------------------------------

# The last step's function sends its span after the customer's answer.
for ((waited = 0; waited < 100; waited++)); do
  ! grep -q "^$trace .* send_confirmation\$" "$folder/spans" || break
  sleep 0.1
done
# Each attempt belongs to the start of its task, and that to the caller's span.
start=$(awk -v trace="$trace" -v span="$span" '$1 == trace && $2 == span && $4 == "start" { print $3 }' "$folder/spans")
expect "the start of a checkout is a span under its caller's" 0 "" test -n "$start"
for step in validate_cart process_payment update_inventory create_order send_confirmation; do
  expect "and the attempt of $step one under that" 0 "" grep -q "^$trace $start [0-9a-f]* $step\$" "$folder/spans"
done
say "    The HTTP APIs against their documents"
# Here, because Schemathesis sends a token, and signs nothing. At the end, because it starts as many checkouts as one address may.
if "$repo/tests/openapi.sh" --url "$url" --token "$folder/owner" >"$folder/openapi" 2>&1; then
  say "ok      both APIs answer as their OpenAPI documents say"
else
  cat "$folder/openapi"
  say "FAILED  an API does not answer as its OpenAPI document says, see above"
  failed=1
fi
((failed == 0))
