#!/usr/bin/env bash
# The whole of Stepwell on this machine: no Docker, no AWS account.
#
#   infra/local.sh up                         start it, or bring it up to date; prints the API's base URL. Before it builds
#                                             it checks that workflows, steps, settings and template fit together
#   infra/local.sh url                        print the API's base URL
#   infra/local.sh status                     what runs, and what waits in the queues
#   infra/local.sh env                        print what tools and tests need: eval "$(infra/local.sh env)"
#   infra/local.sh logs [FUNCTION] [--follow] print what the functions log; --since MINUTES, 10 if not said
#   infra/local.sh down                       stop it; what was in it is gone. Nothing local is protected from deletion
#
# STEPWELL_PORT       the port on 127.0.0.1, 4566 if not said; stacks on different ports do not meet
# STEPWELL_BUILD      fast, if not said: quick to build; release: the functions as they are deployed; crash-points: the
#                     fast ones, which a test can kill at any point of a delivery, see tests/README.md
# STEPWELL_INSTALL    1: Debian packages that are missing are installed with sudo; else only as root
# AWS_ENDPOINT_URL    an emulator of your own, such as LocalStack, to use instead of starting one; its build is release

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

use_stage local

# ---- The emulator ----------------------------------------------------------------------------------------------------

# Finds out which emulator this is about. Sets $port, $state (a folder for all that we keep of it), AWS_ENDPOINT_URL,
# $ours to whether it is the one that this script starts and stops, and $build to which builds run on it.
choose_emulator() {
  port=${STEPWELL_PORT:-4566}
  [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || die "STEPWELL_PORT must be a port, not '$port'"
  ours=yes

  local own=http://127.0.0.1:$port given=${AWS_ENDPOINT_URL:-}
  given=${given%/}
  state=$repo/.local/$port
  if [[ -n $given ]] && ! { [[ $given == "$own" ]] && { emulator_runs "$state" || ! answers "$own"; }; }; then
    ours=no
    [[ $given =~ ^https?://[^/]+$ ]] || die "AWS_ENDPOINT_URL must be like http://localhost:4566, not '$given'"
    port=80
    [[ ! $given =~ :([0-9]+)$ ]] || port=${BASH_REMATCH[1]}
    state=$repo/.local/$port
    own=$given
  fi

  # Never a real account's: whatever the shell has set, nothing here may leave the machine.
  unset AWS_PROFILE AWS_SESSION_TOKEN STEPWELL_CRASH_DIR
  export AWS_ENDPOINT_URL=$own AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 NO_PROXY=127.0.0.1,localhost

  build=${STEPWELL_BUILD:-fast}
  case $build,$ours in
    crash-points,no) die "STEPWELL_BUILD=crash-points needs an emulator of its own. Unset AWS_ENDPOINT_URL." ;;
    # It may have another C library than this machine.
    fast,no) build=release ;;
    # The emulator hands it on to the functions.
    crash-points,yes) export STEPWELL_CRASH_DIR=$state/crashes ;;
    fast,yes | release,*) ;;
    *) die "STEPWELL_BUILD must be fast, release or crash-points, not '$build'" ;;
  esac
}

answers() { curl -s -o /dev/null --max-time 5 "$1/_localstack/health"; }

# emulator_runs STATE: whether the process in the pid file is the one that we started for this state folder, and not a
# later one that was given the same number.
emulator_runs() {
  [[ -f $1/pid ]] && environment_of "$(<"$1/pid")" | grep -qxF "STEPWELL_STATE=$1"
}

environment_of() {
  if [[ -d /proc/self ]]; then
    tr '\0' '\n' 2>/dev/null <"/proc/$1/environ"
  else
    ps -E -ww -o command= -p "$1" | tr ' ' '\n'
  fi
}

# The stacks of this repository that run, for whoever has asked for another.
running_stacks() {
  local folder found=()
  for folder in "$repo"/.local/*/pid; do
    folder=${folder%/pid}
    ! emulator_runs "$folder" || found+=("  port ${folder##*/}, $(cat "$folder/build" 2>/dev/null || echo unknown) build")
  done
  if ((${#found[@]} == 0)); then
    echo "No other stack of this repository runs."
  else
    printf '%s\n' "These run:" "${found[@]}" "To use one of them: export STEPWELL_PORT=${found[0]//[!0-9]/}"
  fi
}

# setsid(1), which macOS lacks.
in_a_session='import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])'

start_emulator() {
  if [[ $ours == no ]]; then
    answers "$AWS_ENDPOINT_URL" || die "nothing answers at $AWS_ENDPOINT_URL, which AWS_ENDPOINT_URL names.
Start it, or unset AWS_ENDPOINT_URL to have an emulator started for you."
    say "==> Using the emulator at $AWS_ENDPOINT_URL"
    return
  fi
  if emulator_runs "$state"; then return; fi

  if answers "$AWS_ENDPOINT_URL"; then
    die "port $port is taken: something that this script did not start answers at $AWS_ENDPOINT_URL.
If it is an AWS emulator that you want used, set AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL.
Else set STEPWELL_PORT to a free port."
  elif (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    die "port $port is taken by another program. Set STEPWELL_PORT to a free port."
  fi

  say "==> Starting MiniStack on $AWS_ENDPOINT_URL"
  # What is known of an emulator that ended by itself is true of this one no more.
  rm -rf "$state/tmp" "$state/calls" "$state/env" "$state/build" "$state/deployed"
  mkdir -p "$state/tmp"
  # In a session of its own, so that it outlives this shell and can be stopped with the functions it has started, and
  # without our lock. It hands its environment on to the functions: that is how they get AWS_ENDPOINT_URL. With AUTH it
  # denies them what their roles do not grant; see infra/emulator/sitecustomize.py.
  STEPWELL_STATE=$state BIND_HOST=127.0.0.1 GATEWAY_PORT=$port AUTH=true IOT_MTLS_ENABLED=0 LOG_LEVEL=WARNING \
    TMPDIR=$state/tmp PYTHONPATH=$infra/emulator PYTHONDONTWRITEBYTECODE=1 \
    "$tools/bin/python" -c "$in_a_session" "$tools/bin/ministack" </dev/null >"$state/emulator.log" 2>&1 9>&- &
  echo $! >"$state/pid"

  local seconds
  for ((seconds = 0; seconds < 30; seconds++)); do
    if curl -fs -o /dev/null "$AWS_ENDPOINT_URL/_localstack/health"; then return; fi
    emulator_runs "$state" || ((seconds == 0)) || break
    sleep 0.5
  done
  tail -n 20 "$state/emulator.log" >&2
  die "MiniStack did not start. What it said last is above, all of it in $state/emulator.log"
}

stop_emulator() {
  if ! emulator_runs "$state"; then return; fi
  local pid deadline=$((SECONDS + 5))
  pid=$(<"$state/pid")
  say "==> Stopping MiniStack"
  # The whole process group: MiniStack and the functions that it runs.
  kill -TERM -- "-$pid" 2>/dev/null || true
  while kill -0 -- "-$pid" 2>/dev/null; do
    ((SECONDS < deadline)) || kill -KILL -- "-$pid" 2>/dev/null || true
    sleep 0.1
  done
}

# ---- Commands --------------------------------------------------------------------------------------------------------

up() {
  one_at_a_time
  begin tools
  need_tools
  choose_emulator
  check_project
  see_other_build
  begin start
  start_emulator
  case $ours in
    yes) build_for_this_machine "$build" "$state/binaries" ;;
    no) build_for_lambda "$(architecture)" ;;
  esac
  package "$state/code" --fast

  # Nothing to deploy if what is deployed came from the same files, and is still there.
  local deployed before
  deployed=$(cat "$infra/template.yaml" "$infra/products.json" "$state/code/functions")
  before=$(cat "$state/deployed" 2>/dev/null || true)
  begin deploy
  [[ -z $before ]] || (smoke_test "$(url)") 2>/dev/null || before=
  if [[ $deployed != "$before" ]]; then
    # shellcheck disable=SC2034 # it is for `upload`
    [[ $ours == no ]] || known_code=$before
    rm -f "$state/deployed"
    echo "$build" >"$state/build"
    # What is local is thrown away, so nothing protects it, and nobody is asked about a deployment that has failed.
    delete_failed_stack
    deploy "$state/code" "$(architecture)" ProtectTables=false
    load_products
    write_env >"$state/env"
    # An emulator verifies whatever it is told to, and knows it for as long as it runs.
    if [[ -z $before ]]; then
      aws sesv2 create-email-identity --email-identity "$(mail_sender)" >/dev/null 2>&1 || true
      warn_of_unverified_sender
    fi
    begin ready
    smoke_test "$(url)" 10
    printf '%s\n' "$deployed" >"$state/deployed"
  fi
  echo "$build" >"$state/build"
  end_phases
  say "==> Up on port $port, the $build build, after $SECONDS s ($phases). Stop it with: $(at_port)infra/local.sh down"
  url
}

# What stands before a command that is about this port.
at_port() { [[ $port == 4566 ]] || echo "STEPWELL_PORT=$port "; }

# What `up` does to a stack that runs already, where that may surprise.
see_other_build() {
  local before
  before=$(cat "$state/build" 2>/dev/null) || return 0
  [[ $ours == no ]] || emulator_runs "$state" || return 0
  case $before,$build in
    "$build,$before") ;;
    # The emulator was started with what the functions are killed by, or without it.
    *crash-points*)
      die "the stack on port $port is of the $before build, and does not change to the $build build while it runs.
Keep it: export STEPWELL_BUILD=$before
Or throw it away first, with all that is in it: $(at_port)infra/local.sh down"
      ;;
    *) say "==> The stack on port $port is of the $before build. It gets the $build build; what is in it stays" ;;
  esac
}

# What the functions are given, so that a function started by hand, or a test, sees the same.
write_env() {
  local name value url
  look_up_url
  {
    printf '%s\t%s\n' API "$url" STEPWELL_PORT "$port"
    for name in AWS_ENDPOINT_URL AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
      printf '%s\t%s\n' "$name" "${!name}"
    done
    [[ -z ${STEPWELL_CRASH_DIR:-} ]] || printf '%s\t%s\n' STEPWELL_CRASH_DIR "$STEPWELL_CRASH_DIR"
    aws lambda get-function-configuration --function-name "$stack-checkout_api" --output json \
      --query Environment.Variables |
      "$tools/bin/python" -c 'import json, sys; print(*("\t".join(v) for v in json.load(sys.stdin).items()), sep="\n")'
  } | while IFS=$'\t' read -r name value; do
    printf 'export %s=%q\n' "$name" "$value"
  done
}

need_up() {
  local why="the local stack on port $port is not up"
  if [[ $ours == no ]] || emulator_runs "$state"; then
    [[ ! -f $state/env ]] || return 0
    why="something runs on port $port, but the local stack is not deployed there"
  fi
  die "$why. Start it: $(at_port)infra/local.sh up
$(running_stacks)"
}

print_env() {
  choose_emulator
  need_up
  cat "$state/env"
}

url() {
  choose_emulator
  need_up
  # shellcheck source=/dev/null
  (source "$state/env" && echo "$API")
}

status() {
  choose_emulator
  if [[ $ours == no ]]; then
    echo "emulator   $AWS_ENDPOINT_URL, not started by this script"
  elif emulator_runs "$state"; then
    echo "emulator   MiniStack at $AWS_ENDPOINT_URL, process $(<"$state/pid")"
  else
    echo "emulator   not running"
  fi
  [[ -f $state/env ]] || { echo "stack      not deployed" && running_stacks && return 1; }
  look_up_stack
  echo "stack      $stack, ${stack_status:-gone}"
  echo "API        $(url)"
  [[ -n $stack_status ]] || return 1

  local queue waiting hidden
  ask '' sqs list-queues --queue-name-prefix "$stack-" --query QueueUrls --output text
  for queue in $answer; do
    read -r waiting hidden < <(aws sqs get-queue-attributes --queue-url "$queue" --attribute-names All \
      --output text --query 'Attributes.[ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible]')
    printf 'queue      %-26s %s waiting, %s being worked on or waiting out a retry\n' \
      "${queue##*"$stack"-}" "$waiting" "$hidden"
  done
}

logs() {
  case ${1:-} in -h | --help) usage && return ;; esac
  choose_emulator
  need_up
  exec "$tools/bin/python" "$infra/logs.py" "$stack" "$@"
}

down() {
  one_at_a_time
  choose_emulator
  if [[ $ours == yes ]]; then
    stop_emulator
  elif answers "$AWS_ENDPOINT_URL"; then
    # Not ours to stop, so it is left as it was found.
    look_up_stack
    [[ -z $stack_status ]] || delete_stack
    delete_tables
    delete_code
  fi
  # What the emulator has recorded of calls stays until the next one starts, for tests/run.sh.
  rm -rf "$state/pid" "$state/env" "$state/build" "$state/deployed" "$state/tmp" "$state/crashes"
  say "==> Down"
}

# Two that build and deploy at once would undo each other's work.
one_at_a_time() {
  need python3 python3
  mkdir -p "$repo/.local"
  exec 9>"$repo/.local/lock"
  lock 9 "another infra/local.sh to finish"
}

case ${1:-} in
  up | down | url | status) (($# == 1)) || die "$1 takes no arguments, but was given '${*:2}'" ;;&
  up | down | url | status | logs) "$@" ;;
  env) print_env ;;
  -h | --help | help) usage ;;
  "") usage >&2 && exit 2 ;;
  *) die "there is no command '$1'. See infra/local.sh --help" ;;
esac
