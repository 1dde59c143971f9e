#!/usr/bin/env bash
# Mutation tests: puts one bug at a time into the engine, and checks that the tests find it:
#
#   tests/mutants.sh [WORD]...
#
# Each file of tests/mutants/ is one plausible bug; its first line describes it. With words, only bugs run whose names
# contain one of them. For each bug the script applies the patch, builds, and runs the tests that may find it, the fastest
# first:
#
#   unit        the engine's unit and property tests: every rule in the memory store, and rare cases on the harness
#   words       the unit tests of `stepwell_aws`, for the bugs in it
#   simulation  some thousand simulated runs
#   cuts, kills the program of one machine: its files after power cuts, for which it needs strace, and killed at any moment;
#               for the bugs named NN-local-*, which are in the crates of one machine
#   file        the tests of `stepwell_local`, for the bugs in it
#   local       1,000 simulated runs over that backend, for the same
#   table       the tests of every transition on DynamoDB, for the bugs named NN-table-*: these are in the DynamoDB requests
#               of a transition, of which unit tests see only the text, and the simulation nothing. They need the
#               environment of a local stack (infra/local.sh env); without it a bug that no unit test finds is reported as
#               not run.
#
# It works in a copy of the working tree in target/mutants, which keeps its build for the next time. First all tests have to
# pass without a bug. The exit code says whether every bug was found. A patch that does not apply or compile is an error in
# the patch, and does not count as found.
#
# STEPWELL_MUTANT_RUNS is the number of simulated runs, 10000 by default.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/../infra/lib.sh"

case ${1:-} in -h | --help) usage && exit ;; esac
runs=${STEPWELL_MUTANT_RUNS:-10000}

patches=()
for patch in "$repo"/tests/mutants/*.patch; do
  for word in "${@:-}"; do
    if [[ $(basename "$patch") == *"$word"* ]]; then patches+=("$patch") && break; fi
  done
done
((${#patches[@]} > 0)) || die "no bug in tests/mutants/ has a name with one of these words: $*"

export CARGO_TARGET_DIR=$repo/target/mutants
log=$CARGO_TARGET_DIR/log copy=$CARGO_TARGET_DIR/copy
# The copy is a repository and a workspace of its own. The tests run without cargo, so this tells those that compare files
# where their workspace is.
export GIT_CEILING_DIRECTORIES=$CARGO_TARGET_DIR CARGO_WORKSPACE_DIR=$copy

# Files keep their times, so that unchanged ones are not compiled again.
make_copy() {
  rm -rf "$copy" && mkdir -p "$copy"
  git -C "$repo" ls-files -z --cached --others --exclude-standard | tar -C "$repo" --null -T - -cf - | tar -C "$copy" -xf -
  changed
}

# A file that is as it was before is older than what was compiled of it, which cargo would not see. All bugs are in these crates.
changed() { touch "$copy"/shared/{stepwell,stepwell_aws,stepwell_local,checkout_local}/src/lib.rs; }

# ---- The tests that may find a bug -----------------------------------------------------------------------------------
# Each is two functions: to build it, and to run it.

# The engine's crate alone has the same features of the AWS SDK as the whole workspace; the tests' crate has not.
build_unit() { cargo test -p stepwell --lib --no-run; }
run_unit() { "$(newest_test stepwell)" --quiet; }

build_simulation() { cargo build --workspace --features lambda --bin sim; }
run_simulation() { "$CARGO_TARGET_DIR/debug/sim" --runs "$runs"; }

build_file() { cargo test --workspace --features lambda --test local --no-run; }
run_file() { "$(newest_test local)" --quiet; }

build_local() { build_simulation; }
run_local() { "$CARGO_TARGET_DIR/debug/sim" --runs 1000 --mode local; }

build_words() { cargo test --workspace --features lambda --lib --no-run; }
run_words() { "$(newest_test stepwell_aws)" --quiet; }

build_table() { cargo test --workspace --features lambda --test it --no-run; }
run_table() { "$(newest_test it)" --quiet transitions; }

build_kills() { cargo test --workspace --features lambda --test program --no-run; }
run_kills() { "$(newest_test program)" --quiet --ignored kills::; }

build_cuts() { build_kills; }
run_cuts() { "$(newest_test program)" --quiet --ignored power_cuts::; }

# The test binary that cargo has just built, by its own output.
newest_test() { sed -n "s|.*Executable .*($CARGO_TARGET_DIR/\(debug/deps/$1-[0-9a-f]*\)).*|$CARGO_TARGET_DIR/\1|p" "$log" | tail -1; }

# ---- One bug ---------------------------------------------------------------------------------------------------------

# in_copy COMMAND: runs the command in the copy, with its output in the log.
in_copy() (cd "$copy" && "$@" >>"$log" 2>&1)

rows=() survived=0 mistakes=0

# Reports an error in a patch, with the end of the log.
mistake() {
  tail -30 "$log" >&2
  mistakes=$((mistakes + 1)) found="MISTAKE: $1"
}

# try KILLER...: sets $found to the tests that find the bug in the copy, or to another result.
try() {
  local killer
  for killer in "$@"; do
    if [[ $killer == table && -z ${AWS_ENDPOINT_URL:-} ]]; then
      found="not run: there is no stack" && return
    fi
    : >"$log"
    in_copy "build_$killer" || { mistake "it does not compile" && return; }
    in_copy "run_$killer" || { found=$killer && return; }
  done
  found="NOBODY"
}

# The tests that may find the bug of this name. Neither the engine's tests nor the simulation run the code that calls AWS or
# SQLite.
killers_of() {
  if [[ $1 == *-table-* ]]; then echo words table
  elif grep -q shared/stepwell_aws/ "$repo/tests/mutants/$1.patch"; then echo words
  elif [[ $1 == *-local-* ]]; then echo cuts kills
  elif grep -q shared/stepwell_local/ "$repo/tests/mutants/$1.patch"; then echo file local
  else echo unit simulation; fi
}

say "==> Without a bug"
make_copy
try unit words simulation file local
[[ $found == NOBODY ]] || { tail -30 "$log" >&2 && die "without a bug there is a failure already: $found"; }
if [[ -n ${AWS_ENDPOINT_URL:-} && ${patches[*]} == *-table-* ]]; then
  try table
  [[ $found == NOBODY ]] || { tail -30 "$log" >&2 && die "without a bug there is a failure already: $found"; }
fi
if [[ ${patches[*]} == *-local-* ]]; then
  try cuts kills
  [[ $found == NOBODY ]] || { tail -30 "$log" >&2 && die "without a bug there is a failure already: $found"; }
fi

for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch) begin=$SECONDS
  : >"$log"
  if in_copy git apply -p1 "$patch"; then
    read -ra killers < <(killers_of "$name")
    try "${killers[@]}"
    in_copy git apply -R -p1 "$patch"
    changed
  else
    mistake "it does not apply"
  fi
  [[ $found != NOBODY ]] || survived=$((survived + 1))
  rows+=("$(printf '%-50s %s' "$name" "$found")")
  say "$(printf '%-50s %s, %s s' "$name" "$found" $((SECONDS - begin)))"
done

# ---- The table -------------------------------------------------------------------------------------------------------

printf '%s\n' "${rows[@]}"
not_run=$(printf '%s\n' "${rows[@]}" | grep -c 'not run:' || true)
printf '\n%s bugs: %s found, %s not found, %s not run, %s mistakes\n' "${#rows[@]}" \
  $((${#rows[@]} - survived - mistakes - not_run)) "$survived" "$not_run" "$mistakes"
((survived == 0 && mistakes == 0)) || exit 1
