#!/usr/bin/env bash
# All that only a GPU shows, in one go and without a network, the most telling first. usage: benchmarks/gpu.sh OUT
#
# OUT: a folder for what it finds: a log a part, their JSON, and summary.json (machine, versions, of each part its exit
# code and seconds). A part that fails, or takes longer than its share, stops no other; what there is no time for is
# named. LIMIT (480): seconds of all of it, by the clock of this script. PYTHON: the interpreter; it needs what gantool depends
# on (onnxruntime-gpu too) and pytest with hypothesis; gantool itself need not be installed.
# Exits 0 when every part that ran did; 1 otherwise; 2 where there is no GPU.
set -uo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd) || exit 2
python=${PYTHON:-python}
limit=${LIMIT:-480}
cd "$(dirname "$0")/.." || exit 2

if ! gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1); then
  echo "There is no GPU here: ${gpu%%$'\n'*}" >&2
  exit 2
fi
echo "$gpu" | tee "$out/gpu.txt"
# this checkout, from whatever folder a child runs; plugins are found by entry points, which only an installation has
export PYTHONPATH="$PWD:$PWD/plugins${PYTHONPATH:+:$PYTHONPATH}"
if ! "$python" -c 'from importlib.metadata import entry_points; raise SystemExit(not entry_points(group="gantool"))'; then
  "$python" benchmarks/uninstalled.py "$out/site" || exit 1
  export PYTHONPATH="$out/site:$PYTHONPATH"
fi
SECONDS=0
parts=() failures=0

text() { # a JSON string of $1
  local escaped=${1//\\/\\\\}
  escaped=${escaped//\"/\\\"}
  printf '"%s"' "$(printf %s "$escaped" | tr -d '\000-\037')"
}

summary() {
  local device driver memory versions joined
  IFS=, read -r device driver memory <<<"${gpu%%$'\n'*}"
  versions=$(timeout 60 "$python" -c 'from importlib.metadata import distributions as d
print(" ".join(sorted({f"{x.name}={x.version}" for x in d() if x.name.startswith(("gantool", "torch", "onnxruntime", "numpy", "nvidia-"))})))' 2>/dev/null)
  joined=$(IFS=,; echo "${parts[*]}")
  printf '{"device": %s, "driver": %s, "memory": %s, "versions": %s, "commit": %s, "seconds": %d, "limit": %d, "parts": [%s]}\n' \
    "$(text "$device")" "$(text "${driver# }")" "$(text "${memory# }")" "$(text "$versions")" \
    "$(text "$(git rev-parse HEAD 2>/dev/null)")" "$SECONDS" "$limit" "$joined" >"$out/.summary.json"
  mv "$out/.summary.json" "$out/summary.json" # so that it is whole whenever somebody ends this script
}

# part NAME SECONDS COMMAND…: its output goes to NAME.txt; it gets what is left when that is less than SECONDS
part() {
  local name=$1 budget=$2 left=$((limit - SECONDS)) began=$SECONDS rc
  shift 2
  if ((left < 5)); then
    echo "$name: no time left"
    parts+=("{\"name\": $(text "$name"), \"skipped\": \"no time left\"}")
    summary
    return
  fi
  echo "$name: $((left < budget ? left : budget)) s at most"
  timeout -k 5 $((left < budget ? left : budget)) "$@" >"$out/$name.txt" 2>&1
  rc=$?
  ((rc == 0)) || failures=$((failures + 1))
  echo "$name: exit code $rc after $((SECONDS - began)) s"
  parts+=("{\"name\": $(text "$name"), \"rc\": $rc, \"seconds\": $((SECONDS - began))}")
  summary
}

bench() { # files of one export, in every way; what it prints is JSON
  "$python" -m gantool bench "$out/dcgan/generator.onnx" --full --minutes 0.6 --seconds 0.5 --compare "torch=$out/dcgan/generator.pt2" --json >"$out/bench.json"
}
shards() { # how many images a second reach the disk
  "$python" -m gantool generate "$out/dcgan/generator.seeded.onnx" --count 400000 --shard-size 50000 --provider cuda \
    --out "$out/shards" --json >"$out/shards.json" && rm -rf "$out/shards"
}
files() {
  "$python" -m gantool train dcgan --device cuda --steps 300 --tick 100 --runs "$out/runs" &&
    "$python" -m gantool export --runs "$out/runs" -o "$out/dcgan" --onnx --seeded --pt2
}
# timeout runs programs, no functions: they are exported to a shell of their own
export out python
export -f bench shards files
throughput=("$python" benchmarks/throughput.py --device cuda --rounds 3 --seconds 0.15)
eager=("torch eager" "torch eager, TF32" "torch eager, fp16 channels_last" "torch eager, tutorial's layout"
  "gantool, seeded, CUDA graph, no TF32" "gantool, seeded, CUDA graph" "gantool half, seeded, CUDA graph" "gantool, seeded"
  "gantool, seeded, IO binding" "gantool, CUDA graph" "gantool, seeded, no TF32" "gantool half, seeded")
compiled=("torch.compile max-autotune, TF32" "torch.compile max-autotune" "torch.compile max-autotune, fp16"
  "gantool, seeded, CUDA graph, no TF32" "gantool, seeded, CUDA graph" "gantool half, seeded, CUDA graph")

# their shares sum to 420 of the 480 s; the last part takes what they leave
part doctor 30 "$python" -m gantool doctor --provider cuda --json
part throughput 80 "${throughput[@]}" --minutes 1.1 --contenders "${eager[@]}" --json "$out/throughput-cuda.json"
# only files that have such tests: others import what this machine may not have
mapfile -t tests < <(grep -rlE 'mark\.gpu|needs_cuda' tests --include='test_*.py' | sort)
part tests 60 "$python" -m pytest -m gpu -rs -p no:cacheprovider "${tests[@]}"
part torchrun 25 "$python" -m torch.distributed.run --nproc-per-node "$(echo "$gpu" | wc -l)" -m gantool train dcgan \
  --size 32 --steps 200 --runs "$out/torchrun"
part files 40 bash -c files
part half 15 "$python" -m gantool export --runs "$out/runs" -o "$out/dcgan" --onnx --seeded --half --half-weights
part bench 50 bash -c bench
part shards 20 bash -c shards
part train 15 "$python" benchmarks/train.py --device cuda --engine graph --rounds 3 --seconds 1 --json "$out/train-graph.json"
[[ -f benchmarks/feeding.py ]] && part feeding 15 "$python" benchmarks/feeding.py --device cuda --engine graph --rounds 5 --seconds 0.5 \
  --json "$out/feeding.json"
part compiled 40 "${throughput[@]}" --minutes 0.5 --contenders "${compiled[@]}" --json "$out/throughput-cuda-compiled.json"
part train-eager 15 "$python" benchmarks/train.py --device cuda --engine eager --rounds 3 --seconds 1 --json "$out/train-eager.json"
part train-tf32 15 "$python" benchmarks/train.py --device cuda --precision tf32 --rounds 3 --seconds 1 --json "$out/train-tf32.json"
part quality "$limit" "$python" benchmarks/quality.py --device cuda --seeds 0 --json "$out/quality.json" --plot "$out/quality.png"
rm -rf "$out/runs" "$out/torchrun"
echo "All of it: $SECONDS s of $limit; $failures part(s) failed; $out/summary.json"
((failures == 0))
