#!/usr/bin/env bash
# Holds both HTTP APIs to their OpenAPI documents:
#
#   tests/openapi.sh                           those of a shop on one machine, in a folder of its own
#   tests/openapi.sh --url URL --token FILE    those of a stack on this machine; the file has the token of an operator who may do all
#
# Schemathesis makes a few thousand requests from each document, valid and invalid ones and sequences along its links, and checks every
# answer. tests/schemathesis.toml says how many. On one machine a client in Python is generated from each as well, and mypy checks its types.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/../infra/lib.sh"

customers='' token=''
while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --url) customers=${2-} ;;
    --token) token=$(<"${2-}") ;;
    *) die "there is no option $1. See tests/openapi.sh --help" ;;
  esac
  shift 2
done
[[ -z $customers && -z $token || -n $customers && -n $token ]] || die "--url and --token need each other, and a value each"
cd "$repo"
need_python openapi tests/openapi.txt
python=$repo/.local/openapi/bin

folder=$(mktemp -d)
clean() {
  local code=$?
  [[ -z ${shop:-} ]] || { kill "$shop" && wait "$shop"; } 2>/dev/null || true
  rm -rf "$folder"
  exit "$code"
}
trap clean EXIT

if [[ -z $customers ]]; then
  cargo build --workspace --features lambda --bin checkout_local
  "$target/debug/checkout_local" serve --data "$folder/data" --port 0 --operators-port 0 --checkouts-per-email 0 \
    >"$folder/says" 2>"$folder/log" &
  shop=$!
  until grep -q '^Ctrl-C' "$folder/says"; do
    kill -0 "$shop" 2>/dev/null || die "the shop did not start: $(cat "$folder/log")"
    sleep 0.1
  done
  customers=$(sed -n 's/^customers *//p' "$folder/says")
  operators=$(cat "$folder/data/operators-url") token=$(cat "$folder/data/operator-token")
else
  operators=$customers
fi

# try NAME URL [OPTION]...: the API NAME, which answers at URL.
try() {
  local name=$1 url=$2
  shift 2
  begin "$name" "Trying the API $name"
  # There, because it writes its cache where it runs.
  (cd "$folder" && "$python/st" --config-file "$repo/tests/schemathesis.toml" --no-color \
    run "$repo/functions/$name/openapi.json" --url "$url" "$@") || failed=yes
}

# client NAME: generates a client of the API NAME. Whatever it would have to leave out fails.
client() {
  begin "client of $1" "Generating a client of $1"
  PATH=$python:$PATH openapi-python-client generate --path "functions/$1/openapi.json" --output-path "$folder/client/$1" \
    --meta none --fail-on-warning || failed=yes
}

failed=no
# Before the operators' API, whose tasks it makes.
try checkout_api "$customers"
# Of a stack, API Gateway answers a method that no route has, and /openapi.json is the customers' document.
behind_a_gateway=()
[[ -n ${shop:-} ]] || behind_a_gateway=(--exclude-path /openapi.json --exclude-checks unsupported_method)
try tasks_api "$operators" --header "Authorization: Bearer $token" ${behind_a_gateway[@]+"${behind_a_gateway[@]}"}
# A stack has the same documents, and so the same clients.
if [[ -n ${shop:-} ]]; then
  mkdir "$folder/client"
  client checkout_api
  client tasks_api
  begin mypy "Checking the types of the clients"
  # client.py is the same whatever the document says, and calls httpx with types that httpx does not declare.
  printf '[mypy]\n[mypy-*.client]\nignore_errors = true\n' >"$folder/mypy.ini"
  (cd "$folder/client" && "$python/mypy" --config-file "$folder/mypy.ini" --cache-dir "$folder/mypy" checkout_api tasks_api) || failed=yes
fi
begin ''
[[ $failed == no ]]
