#!/usr/bin/env bash
# All that only a GPU shows, in one go, without a network: the `gpu` tests, training speed by engine and precision against
# the tutorial's loop, quality against time, training through torchrun, and the CUDA provider's bench. usage: benchmarks/gpu.sh OUT   (an empty folder for what it finds)
# PYTHON names the interpreter; without an installed gantool, PYTHONPATH=.:plugins does.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
python=${PYTHON:-python}
cd "$(dirname "$0")/.."
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"
$python -m pytest -m gpu -rs | tee "$out/tests.txt"
for engine in graph eager compiled; do
  $python benchmarks/train.py --device cuda --engine $engine --rounds 5 --seconds 2 --json "$out/train-$engine.json"
done
for precision in tf32 bf16; do
  $python benchmarks/train.py --device cuda --precision $precision --rounds 3 --seconds 2 --json "$out/train-$precision.json"
done
$python benchmarks/train.py --device cuda --cases "dcgan 64" --batch 512 --rounds 3 --json "$out/train-batch-512.json"
$python benchmarks/quality.py --device cuda --seeds 0 --json "$out/quality.json" --plot "$out/quality.png"
$python -m torch.distributed.run --nproc-per-node "$(nvidia-smi -L | wc -l)" -m gantool train dcgan --size 32 --steps 500 \
  --runs "$out/runs" | tee "$out/torchrun.txt"
for name in mlp dcgan wgan; do
  $python -m gantool train "$name" --device cuda --steps 1000 --tick 250 --runs "$out/runs" | tee "$out/train-$name.txt"
  $python -m gantool export --runs "$out/runs" -o "$out/$name" >"$out/export-$name.txt"
  $python -m gantool export --runs "$out/runs" -o "$out/$name" --half --half-weights >>"$out/export-$name.txt"
  for file in generator generator.seeded generator.half generator.half.seeded; do
    for provider in cpu cuda; do
      $python -m gantool bench "$out/$name/$file.onnx" --provider $provider --json >"$out/bench-$name-$file-$provider.json"
    done
  done
done
rm -rf "$out/runs"
