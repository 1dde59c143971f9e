#!/usr/bin/env bash
# Runs the tests that take too long for tests/run.sh: all of them, or the named parts:
#
#   tests/long.sh [--no-record] [PART]...
#
#   model          every scope of the protocol's model, the large ones too: minutes, and gigabytes of memory
#   simulation     a million simulated runs of the engine, 10,000 of them also over the backend `local`, with other seeds than
#                  tests/run.sh
#   mutants        the bugs of tests/mutants/, one after the other (tests/mutants.sh), with a local stack of its own
#   cargo-mutants  an eighth of cargo-mutants' changes to the engine; STEPWELL_SHARD says which, 0 to 7
#   flash-sale     10,000 buyers for 100 pieces in memory, with faults; then 500 for 20 on a local stack
#   memory         the program of one machine with 100,000 tasks in its file
#   load           5,000 checkouts on a local stack while workers are killed, messages come twice and DynamoDB fails
#   one-machine    the program of one machine: killed 1,000 times while customers buy, and its files after 5,000 power cuts
#
# Each part that passes writes its date and commit into the table in tests/README.md. So the script refuses to begin with
# uncommitted changes; with --no-record it runs, and writes nothing. The stack is on port 4599, or STEPWELL_TEST_PORT.
# Every part runs to its end; the exit code says whether all of them passed.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/../infra/lib.sh"

parts=() record=yes
for argument in "$@"; do
  case $argument in
    -h | --help) usage && exit ;;
    --no-record) record=no ;;
    model | simulation | mutants | cargo-mutants | flash-sale | memory | load | one-machine) parts+=("$argument") ;;
    *) die "there is no part '$argument'. See tests/long.sh --help" ;;
  esac
done
((${#parts[@]} > 0)) || parts=(model simulation mutants cargo-mutants flash-sale memory load one-machine)
cd "$repo"

guide=tests/README.md
# Only the table that this script writes may differ from the commit.
is_clean() { [[ $(git rev-parse --short HEAD) == "$commit" && -z $(git status --porcelain -- . ":!$guide") ]]; }

if [[ $record == yes ]]; then
  commit=$(git rev-parse --short HEAD)
  [[ -z $(git status --porcelain) ]] || die "there are uncommitted changes, and what passes is written down as a commit's.
Commit them, or run this with --no-record"
fi

# record_green PART: writes the date and the commit into the part's row of the table.
record_green() {
  local table
  is_clean || die "the working tree has changed meanwhile, so it is not written down that $1 has passed with $commit"
  table=$(awk -v row="| \`$1\` |" -v green=" $(date +%Y-%m-%d) | \`$commit\` |" '
    inside && index($0, row) == 1 { split($0, cell, "|"); print "|" cell[2] "|" cell[3] "|" green; next }
    /<!-- long:/ { inside = 1 }
    /<!-- end of long/ { inside = 0 }
    { print }' "$guide") && printf '%s\n' "$table" >"$guide"
}

# ---- The local stack -------------------------------------------------------------------------------------------------

# It never uses the stack that the caller's environment names.
local_stack() {
  env -u AWS_ENDPOINT_URL STEPWELL_PORT="${STEPWELL_TEST_PORT:-4599}" STEPWELL_BUILD= infra/local.sh "$@"
}

# on_stack COMMAND...: runs the command on an empty stack, and stops the stack afterwards.
on_stack() {
  local passed=no
  local_stack down && local_stack up >/dev/null &&
    (environment=$(local_stack env) && eval "$environment" && "$@") && passed=yes
  local_stack down && [[ $passed == yes ]]
}

# ---- The parts -------------------------------------------------------------------------------------------------------

# The builds are those of tests/run.sh, so nothing is compiled twice. The dev profile optimises the simulation and the model.
run_model() { build model && "$target/debug/model" --large; }
run_simulation() { build sim && "$target/debug/sim" --runs 1000000 --seed 1000000; }
run_mutants() { on_stack tests/mutants.sh; }
run_cargo-mutants() {
  command -v cargo-mutants >/dev/null || { say "cargo-mutants is missing. Install it: cargo install cargo-mutants --locked" && return 1; }
  cargo mutants --shard "${STEPWELL_SHARD:-0}/8" --output "$target"
}
run_flash-sale() {
  build flash_sale && "$target/debug/flash_sale" && on_stack env STEPWELL_BUYERS=500 STEPWELL_PIECES=20 \
    cargo test --workspace --features lambda --test scenarios stock::aws::flash_sale -- --nocapture
}
run_memory() {
  STEPWELL_TASKS=100000 cargo test --workspace --features lambda --test program many::memory -- --nocapture
}
run_load() { build load && on_stack "$target/debug/load" --checkouts 5000 --concurrency 40 --faults; }
run_one-machine() {
  STEPWELL_KILLS=1000 STEPWELL_CUTS=5000 \
    cargo test --workspace --features lambda --test durability -- --ignored --nocapture --test-threads 1
}

build() { cargo build --workspace --features lambda --bin "$1"; }

summary=() failed=no
for part in "${parts[@]}"; do
  say $'\n'"==== $part"
  started=$SECONDS
  if "run_$part"; then
    summary+=("passed   $part, $((SECONDS - started)) s")
    [[ $record == no ]] || record_green "$part"
  else
    summary+=("FAILED   $part, $((SECONDS - started)) s")
    failed=yes
  fi
done
say $'\n==== Summary'
printf '%s\n' "${summary[@]}" >&2
[[ $failed == no ]]
