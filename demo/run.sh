#!/usr/bin/env bash
# The demo: everything in one process on a temporary directory. Fails loudly if an answer is wrong.
set -euo pipefail
bin=$1
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
"$bin/millstream" up --data-dir "$dir/data" --listen 127.0.0.1:19000 --scheduler-listen 127.0.0.1:19004 --inspect-listen 127.0.0.1:19007 &
up=$!
trap 'kill $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$dir"' EXIT
export SELDON_SCHEDULE_HOST=127.0.0.1:19004 SELDON_INFER_HOST=127.0.0.1:19000
millstream() { timeout 60 "$bin/millstream" "$@"; }
until (exec 3<>/dev/tcp/127.0.0.1/19007) 2>/dev/null; do kill -0 $up; sleep 0.05; done

request='{"inputs": [{"name": "INPUT", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}'
expect() { # what, part of the answer, answer
    case "$3" in
        *"$2"*) echo "$1: $3" ;;
        *) echo "$1 is wrong: expected $2 in: $3" >&2; exit 1 ;;
    esac
}
for model in add10 add20 mul10 sumdiff iris; do millstream model load -f models/$model.yaml --wait; done
millstream pipeline load -f demo/pipelines.yaml --wait
millstream pipeline list
expect "model over REST" "[11.0,12.0,13.0,14.0]" "$(millstream model infer add10 "$request")"
expect "chain over REST" "[110.0,120.0,130.0,140.0]" "$(millstream pipeline infer chain "$request")"
expect "join over gRPC" "[21.0,22.0,23.0,24.0]" "$(millstream pipeline infer join "$request" --inference-mode grpc)"
millstream pipeline inspect chain --inspect-host 127.0.0.1:19007
printf 'to be or not to be\n%.0s' 1 2 3 >"$dir/text"
expect "word count" "6 be" "$("$bin/examples/word_count" "$dir/text")"
echo "the demo is done: every answer is right"
