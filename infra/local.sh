#!/usr/bin/env bash
# The whole of Stepwell on this machine: no Docker, no AWS account.
#
#   infra/local.sh up                         start it, or bring it up to date; prints the API's base URL. Before it builds
#                                             it checks that workflows, steps, settings and template fit together
#   infra/local.sh url                        print the API's base URL
#   infra/local.sh status                     what runs, and what waits in the queues
#   infra/local.sh env                        print what tools and tests need: eval "$(infra/local.sh env)"
#   infra/local.sh down                       stop it; what was in it is gone. Nothing local is protected from deletion
#
# --install           install missing Debian packages with sudo; else that is done as root only
# STEPWELL_PORT       the port on 127.0.0.1, 4566 if not said; stacks on different ports do not meet
# STEPWELL_BUILD      fast, if not said: quick to build; release: the functions as they are deployed; crash-points: the
#                     fast ones, which a test can kill at any point of a delivery, see tests/README.md
# AWS_ENDPOINT_URL    an emulator of your own, such as LocalStack, to use instead of starting one; its build is release. One
#                     that this script has started is known again, and a STEPWELL_PORT that names another port is refused

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

use_stage local

# ---- The emulator ----------------------------------------------------------------------------------------------------

# Finds out which emulator this is about. Sets $port, $state (a folder for all that we keep of it), AWS_ENDPOINT_URL,
# $ours to whether it is the one that this script starts and stops, $build to which builds run on it, and $at_port to what
# stands before a command that is about it.
choose_emulator() {
  local asked=${STEPWELL_PORT:-4566} own given=${AWS_ENDPOINT_URL:-}
  [[ $asked =~ ^[1-9][0-9]{0,4}$ ]] || die "STEPWELL_PORT must be a port, not '$asked'"
  port=$asked ours=yes build=${STEPWELL_BUILD:-fast} at_port=

  given=${given%/}
  if [[ -n $given ]]; then
    [[ $given =~ ^https?://[^/]+$ ]] || die "AWS_ENDPOINT_URL must be like http://localhost:4566, not '$given'"
    port=${given##*:}
    [[ $port != *[!0-9]* ]] || port=80
    [[ -z ${STEPWELL_PORT:-} || $port == "$asked" ]] || die "STEPWELL_PORT is $asked, but AWS_ENDPOINT_URL is $given. Nothing was done.
For the stack on port $asked: unset AWS_ENDPOINT_URL
For the emulator at $given: unset STEPWELL_PORT"
  fi
  state=$repo/.local/$port own=http://127.0.0.1:$port
  if [[ -n $given ]]; then
    # What we have started is ours, also where it is named; and so is what we shall start on the port that is asked for.
    if emulator_runs "$state"; then
      [[ $given == "$own" || $given == "http://localhost:$port" ]] ||
        die "a stack of this repository runs on port $port, and $given would share its files. Stop that one first:
  AWS_ENDPOINT_URL= STEPWELL_PORT=$port infra/local.sh down"
    elif [[ $given != "http://127.0.0.1:$asked" ]] || answers "$own"; then
      ours=no own=$given
    fi
  fi
  [[ $port == 4566 ]] || at_port="STEPWELL_PORT=$port "

  # Never a real account's: whatever the shell has set, nothing here may leave the machine.
  unset AWS_PROFILE AWS_SESSION_TOKEN STEPWELL_CRASH_DIR
  export AWS_ENDPOINT_URL=$own AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 NO_PROXY=127.0.0.1,localhost

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

answers() { curl -fs -o /dev/null --max-time 5 "$1/_localstack/health"; }

# emulator_runs STATE: whether the process in the pid file is the one that we started for this state folder, and not a
# later one that was given the same number. Its environment says so.
emulator_runs() {
  local pid environment
  pid=$(cat "$1/pid" 2>/dev/null) || return 1
  environment=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" || ps -E -ww -o command= -p "$pid" 2>/dev/null | tr ' ' '\n')
  grep -qxF "STEPWELL_STATE=$1" <<<"$environment"
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
  ! emulator_runs "$state" || return 0
  ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "port $port is taken by something that this script did not start.
If it is an AWS emulator that you want used, set AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL.
Else set STEPWELL_PORT to a free port."

  say "==> Starting MiniStack on $AWS_ENDPOINT_URL"
  # What is known of an emulator that ended by itself is true of this one no more.
  rm -rf "$state/tmp" "$state/calls" "$state/requests" "$state/env" "$state/build" "$state/deployed"
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
    if answers "$AWS_ENDPOINT_URL"; then return; fi
    emulator_runs "$state" || ((seconds == 0)) || break
    sleep 0.5
  done
  stop_emulator
  tail -n 20 "$state/emulator.log" >&2
  die "MiniStack did not start. What it said last is above, all of it in $state/emulator.log"
}

# The whole process group: MiniStack and the functions that it runs. None of them has anything to save. It is waited for,
# because they may still write; but not for ever, since a container may have no process that reaps them.
stop_emulator() {
  local pid tries
  emulator_runs "$state" || return 0
  pid=$(<"$state/pid")
  kill -KILL -- "-$pid"
  for ((tries = 0; tries < 50; tries++)); do
    kill -0 -- "-$pid" 2>/dev/null || return 0
    sleep 0.1
  done
}

# ---- Commands --------------------------------------------------------------------------------------------------------

# The port on which a stack is being started, for as long as somebody holds the lock.
starting=$repo/.local/starting

up() {
  local deployed before fetching
  need_packages
  begin ''
  # They come over the network while the check is compiled. Should that fail, this script ends after them all the same.
  need_python_tools &
  fetching=$!
  # shellcheck disable=SC2064 # it is about this process
  trap "wait $fetching" EXIT
  # Two that build and deploy at once would undo each other's work.
  lock local "another infra/local.sh to finish"
  choose_emulator
  echo "$port" >"$starting"
  check_project
  begin 'rest of the tools'
  trap - EXIT
  wait "$fetching" || die "the tools could not be installed; the reason is above what the check has printed"
  see_other_build
  begin start
  start_emulator
  if [[ $ours == yes ]]; then build_functions "$build"; else build_functions "$(architecture)"; fi
  package "$state/code" --fast

  # Nothing to deploy if what is deployed came from the same files, and is still there.
  begin deploy
  deployed=$(cat "$infra/template.yaml" "$infra/products.json" "$state/code/functions")
  before=$(cat "$state/deployed" 2>/dev/null || true)
  [[ -z $before ]] || (smoke_test "$(print_url)") 2>/dev/null || before=
  echo "$build" >"$state/build"
  if [[ $deployed != "$before" ]]; then
    # shellcheck disable=SC2034 # it is for `upload`
    [[ $ours == no ]] || known_code=$before
    rm -f "$state/deployed"
    # What is local is thrown away, so nothing protects it, and nobody is asked about a deployment that has failed.
    look_up_stack
    [[ $stack_status != ROLLBACK_COMPLETE ]] || delete_stack
    deploy "$state/code" "$(architecture)" ProtectTables=false TestStage=true 'CorsOrigins=*' \
      CheckoutsPerEmail=1000000 CheckoutsPerAddress=1000000
    load_products
    write_env
    begin ready
    smoke_test "$(print_url)" 10
    printf '%s\n' "$deployed" >"$state/deployed"
  fi
  rm -f "$starting"
  begin ''
  say "==> Up on port $port, the $build build, after $SECONDS s ($phases). Stop it with: ${at_port}infra/local.sh down"
  print_url
}

# shellcheck source=/dev/null
print_url() { (source "$state/env" && echo "$API"); }

# What `up` does to a stack that runs already, where that may surprise.
see_other_build() {
  local before
  before=$(cat "$state/build" 2>/dev/null) || return 0
  [[ $ours == no ]] || emulator_runs "$state" || return 0
  [[ $before != "$build" ]] || return 0
  # The emulator was started with what the functions are killed by, or without it.
  [[ $before,$build != *crash-points* ]] ||
    die "the stack on port $port is of the $before build, and does not change to the $build build while it runs.
Keep it: export STEPWELL_BUILD=$before
Or throw it away first, with all that is in it: ${at_port}infra/local.sh down"
  say "==> The stack on port $port is of the $before build. It gets the $build build; what is in it stays"
}

# What `env` prints: what the functions are given, so that a function started by hand, or a test, sees the same. And an
# emulator verifies whatever sender it is told to, and knows it for as long as it runs.
write_env() {
  local code='import json, os, shlex, sys
ours = "API STEPWELL_PORT STEPWELL_CRASH_DIR AWS_ENDPOINT_URL AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY"
values = {name: os.environ[name] for name in ours.split() if name in os.environ} | json.load(sys.stdin)
print(*(f"export {name}={shlex.quote(value)}" for name, value in values.items()), sep="\n")'
  look_up_url
  ask '' lambda get-function-configuration --function-name "$stack-checkout_api" --output json --query Environment.Variables
  API=$url STEPWELL_PORT=$port python3 -c "$code" <<<"$answer" >"$state/env.new"
  mv "$state/env.new" "$state/env"
  # shellcheck source=/dev/null
  (source "$state/env" && aws sesv2 create-email-identity --email-identity "$SHOP_MAIL_SENDER") >/dev/null 2>&1 || true
}

is_starting() { [[ $(cat "$starting" 2>/dev/null) == "$port" ]] && is_locked local; }

# That the stack is up. Else it says which others run, for whoever has asked for another.
need_up() {
  local why folder found=''
  choose_emulator
  why="the local stack on port $port is not up"
  ! is_starting || [[ -f $state/env ]] ||
    die "the local stack on port $port is being started by another infra/local.sh. Wait until that says that it is up."
  if [[ $ours == no ]] || emulator_runs "$state"; then
    [[ ! -f $state/env ]] || return 0
    why="something runs on port $port, but the local stack is not deployed there"
  fi
  for folder in "$repo"/.local/*/pid; do
    folder=${folder%/pid}
    if [[ -f $folder/env ]] && emulator_runs "$folder"; then
      found+="
  export STEPWELL_PORT=${folder##*/}      # the $(<"$folder/build") build"
    fi
  done
  die "$why. Start it: ${at_port}infra/local.sh up
${found:+Or use one that runs:}${found:-No other stack of this repository runs.}"
}

status() {
  local queue waiting hidden
  need_up
  look_up_stack
  echo "emulator   $AWS_ENDPOINT_URL, process $(cat "$state/pid" 2>/dev/null || echo not started by this script)"
  echo "stack      $stack, ${stack_status:-gone}"
  echo "API        $(print_url)"
  ask '' sqs list-queues --queue-name-prefix "$stack-" --query QueueUrls --output text
  for queue in $answer; do
    ask '' sqs get-queue-attributes --queue-url "$queue" --attribute-names All --output text \
      --query 'Attributes.[ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible]'
    read -r waiting hidden <<<"$answer"
    printf 'queue      %-26s %s waiting, %s being worked on or waiting out a retry\n' \
      "${queue##*"$stack"-}" "$waiting" "$hidden"
  done
}

down() {
  lock local "another infra/local.sh to finish"
  choose_emulator
  rm -f "$starting"
  if [[ $ours == yes ]] && emulator_runs "$state"; then
    say "==> Stopping MiniStack"
    stop_emulator
  elif [[ $ours == no ]] && answers "$AWS_ENDPOINT_URL"; then
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

case " $* " in *" -h "* | *" --help "* | " help ") usage && exit ;; esac
(($# <= 1)) || die "$1 takes no '${*:2}'. See infra/local.sh --help"
case ${1:-} in
  up | status | down) "$1" ;;
  url) need_up && print_url ;;
  env) need_up && cat "$state/env" ;;
  "") usage >&2 && exit 2 ;;
  *) die "there is no command '$1'. See infra/local.sh --help" ;;
esac
