#!/usr/bin/env bash
# Breaks the engine on purpose, in one place at a time, and looks whether the tests notice:
#
#   tests/mutants.sh [WORD]...
#
# Each file of tests/mutants/ is one bug, of the kind that looks right; its first line says what it breaks. With words,
# only those run whose names contain one of them. For each: apply, build, then run what may find it, the fastest first:
#
#   unit        the engine's unit and property tests: every rule in the store in memory, and on its harness what chance
#               brings about too seldom
#   words       the unit tests of `stepwell_aws`, for the bugs that are there
#   simulation  some thousand simulated runs
#   table       the tests of every transition on DynamoDB, for the bugs named NN-table-*: they are in how a transition is said
#               to DynamoDB, of which unit tests see the words alone, and the simulation nothing. They want the
#               environment of a local stack (infra/local.sh env); without it a bug that no unit test finds is reported as
#               not run.
#
# It works in a copy of the working tree in target/mutants, where what is compiled stays for the next time. First all of it
# has to pass without a bug. The exit code says whether every bug was found. A patch that does not apply, or does not
# compile, is a mistake in the patch and not a find.
#
# How many runs the simulation makes: STEPWELL_MUTANT_RUNS, 10000 if it is not set.

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
# The copy is no part of the repository around it.
export GIT_CEILING_DIRECTORIES=$CARGO_TARGET_DIR

# Its files have their own times, so that what did not change is not compiled again.
make_copy() {
  rm -rf "$copy" && mkdir -p "$copy"
  git -C "$repo" ls-files -z --cached --others --exclude-standard | tar -C "$repo" --null -T - -cf - | tar -C "$copy" -xf -
  changed
}

# A file that is as it was before is older than what was compiled of it, which cargo would not see. All bugs are in these crates.
changed() { touch "$copy"/shared/{stepwell,stepwell_aws}/src/lib.rs; }

# ---- What may find a bug ---------------------------------------------------------------------------------------------
# Each is two functions: to build it, and to run it.

# The engine's crate alone has the same features of the AWS SDK as the whole workspace; the tests' crate has not.
build_unit() { cargo test -p stepwell --lib --no-run; }
run_unit() { "$(newest_test stepwell)" --quiet; }

build_simulation() { cargo build --workspace --features lambda --bin sim; }
run_simulation() { "$CARGO_TARGET_DIR/debug/sim" --runs "$runs"; }

build_words() { cargo test --workspace --features lambda --lib --no-run; }
run_words() { "$(newest_test stepwell_aws)" --quiet; }

build_table() { cargo test --workspace --features lambda --test it --no-run; }
run_table() { "$(newest_test it)" --quiet transitions; }

# The binary of these tests that cargo has just said it built.
newest_test() { sed -n "s|.*Executable .*($CARGO_TARGET_DIR/\(debug/deps/$1-[0-9a-f]*\)).*|$CARGO_TARGET_DIR/\1|p" "$log" | tail -1; }

# ---- One bug ---------------------------------------------------------------------------------------------------------

# in_copy COMMAND: quietly, with what it says in the log.
in_copy() (cd "$copy" && "$@" >>"$log" 2>&1)

rows=() survived=0 mistakes=0

# What is wrong with a patch, with the end of the log.
mistake() {
  tail -30 "$log" >&2
  mistakes=$((mistakes + 1)) found="MISTAKE: $1"
}

# try KILLER...: sets $found to the one that finds the bug in the copy, or to what else came of it.
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

# What may find the bug of this name. Neither the engine's tests nor the simulation run the code that speaks to AWS.
killers_of() {
  if [[ $1 == *-table-* ]]; then echo words table
  elif grep -q shared/stepwell_aws/ "$repo/tests/mutants/$1.patch"; then echo words
  else echo unit simulation; fi
}

say "==> Without a bug"
make_copy
try unit words simulation
[[ $found == NOBODY ]] || { tail -30 "$log" >&2 && die "without a bug there is a failure already: $found"; }
if [[ -n ${AWS_ENDPOINT_URL:-} && ${patches[*]} == *-table-* ]]; then
  try table
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
