#!/usr/bin/env bash
# make demo: an experiment on a simulated network, what came of it, and what happens to a run that is killed. Under two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=$root/demo
run="$root/bin/orchestrator"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

rm -rf "$dir"
mkdir "$dir"
say "A simulated network: 12 nodes, 5 of them producers, a minute of network time each second"
"$root/bin/simnet" -dir "$dir/network" -nodes 12 -producers 5 -clock-scale 60 -seed 1 >"$dir/simnet.out" 2>&1 &
simnet=$!
trap 'kill $simnet 2>/dev/null || true; wait $simnet 2>/dev/null || true' EXIT
for ((i = 0; i < 300; i++)); do
  grep -q '^ready' "$dir/simnet.out" && break
  kill -0 $simnet 2>/dev/null || { cat "$dir/simnet.out"; exit 1; }
  sleep 0.1
done
grep -q '^ready' "$dir/simnet.out" || { echo "the simulated network did not come up:"; cat "$dir/simnet.out"; exit 1; }
cd "$dir/network" # the script's paths are relative to it

say "What the script would do and cost:  orchestrator plan config.json < scripts/demo.script"
"$run" plan -nodes 6 config.json <"$root/scripts/demo.script"

say "A rehearsal, with nothing but the script:  orchestrator rehearse < scripts/demo.script"
"$run" rehearse -nodes 12 -producers 5 -seed 1 <"$root/scripts/demo.script" >"$dir/rehearsal.out"

say "The run:  orchestrator config.json < scripts/demo.script > run.out"
code=0
"$run" -record "$dir/run.record" -seed 1 config.json <"$root/scripts/demo.script" >"$dir/run.out" || code=$?
echo "exit code $code"
[ $code -eq 0 ] || exit $code

say "What really happened, by the network's own journal:  simnet show journal.jsonl"
"$root/bin/simnet" show journal.jsonl
say "Outputs and record of the run: demo/run.out, demo/run.record. Its load was stopped by the script:  orchestrator stop run.record config.json"
"$run" stop "$dir/run.record" config.json

say "A run that is killed (kill -9) leaves its load running"
cat >"$dir/killed.script" <<'SCRIPT'
{"action":"load-keys","params":{"dir":"./demo-keys/payments"}}
{"action":"discovery","params":{"noBPs":true}}
{"action":"payments","params":{"experimentName":"killed","tps":0.2,"minTps":0.01,"durationMin":60,"minFee":100000000,"maxFee":100000000,"amount":1000,"receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg","feePayers":{"type":"output","step":-2,"name":"key"},"nodes":{"type":"output","step":-1,"name":"participant"}}}
{"action":"wait","params":{"min":60}}
SCRIPT
"$run" -quiet -record "$dir/killed.record" -seed 1 config.json <"$dir/killed.script" >"$dir/killed.out" &
killed=$!
for ((i = 0; i < 100; i++)); do
  grep -q '"_until"' "$dir/killed.out" 2>/dev/null && break
  sleep 0.1
done
kill -9 $killed
wait $killed 2>/dev/null || true
"$root/bin/simnet" show journal.jsonl | grep schedules
say "stop undoes what its record says:  orchestrator stop killed.out config.json"
"$run" stop "$dir/killed.out" config.json >/dev/null
"$root/bin/simnet" show journal.jsonl | grep schedules
say "resume would have gone on where it was killed, with the wait, and scheduled nothing twice:"
echo "  orchestrator resume killed.out config.json < killed.script"
say "Done. Everything is under demo/; the network is stopped."
