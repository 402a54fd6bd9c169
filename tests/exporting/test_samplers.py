"""The samplers of app kits, compiled: each draws the very latents of gantool.runtime."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import hosts

from gantool.artifact import latents
from gantool.exporting.app.kit import write_samplers

# seed, first index, how many, size: the ends of what there is, a size that is odd, and one of the longer stride
ASKED = [(7, 0, 600, 100), (-(2**63), 2**47 - 3, 3, 101), (2**63 - 1, 12345, 2, 1), (-1, 5, 2, 140_001)]
PAGE = Path(__file__).parents[2] / "docs" / "sampler.md"

C = """#include <stdio.h>
#include <stdlib.h>
#include "sampler.h"
static float table[65536], made[262144];
int main(int n, char **given) {
  FILE *file = fopen("normals.f32", "rb");
  if (n != 5 || !file || fread(table, 4, 65536, file) != 65536) return 1;
  for (unsigned long long i = 0; i < strtoull(given[3], 0, 10); i++) {
    size_t size = (size_t)strtoull(given[4], 0, 10);
    sampler_normals(table, strtoll(given[1], 0, 10), strtoull(given[2], 0, 10) + i, size, made);
    if (fwrite(made, 4, size, stdout) != size) return 1;
  }
  return 0;
}"""
CS = """using System; using System.IO;
static class Program { static void Main(string[] given) {
  var sampler = new Sampler(File.ReadAllBytes("normals.f32")); var size = int.Parse(given[3]);
  using (var output = Console.OpenStandardOutput())
    for (long i = 0; i < long.Parse(given[2]); i++) {
      var made = sampler.Normals(long.Parse(given[0]), long.Parse(given[1]) + i, size); var bytes = new byte[4 * size];
      Buffer.BlockCopy(made, 0, bytes, 0, bytes.Length); output.Write(bytes, 0, bytes.Length);
    } } }"""
JAVA = """import java.nio.*; import java.nio.file.*;
public final class Program { public static void main(String[] given) throws Exception {
  Sampler sampler = new Sampler(Files.readAllBytes(Paths.get("normals.f32"))); int size = Integer.parseInt(given[3]);
  for (long i = 0; i < Long.parseLong(given[2]); i++) {
    float[] made = sampler.normals(Long.parseLong(given[0]), Long.parseLong(given[1]) + i, size);
    ByteBuffer bytes = ByteBuffer.allocate(4 * size).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(made); System.out.write(bytes.array(), 0, 4 * size);
  } System.out.flush(); } }"""
RUST = """mod sampler; use std::io::Write;
fn main() { let given: Vec<String> = std::env::args().collect();
  let sampler = sampler::Sampler::new(&std::fs::read("normals.f32").unwrap());
  let (first, n): (u64, u64) = (given[2].parse().unwrap(), given[3].parse().unwrap());
  for i in 0..n { for z in sampler.normals(given[1].parse().unwrap(), first + i, given[4].parse().unwrap()) {
    std::io::stdout().write_all(&z.to_le_bytes()).unwrap(); } } }"""
GO = """package main
import ("encoding/binary"; "os"; "strconv"; "program/sampler")
func number(text string) int64 { n, err := strconv.ParseInt(text, 10, 64); if err != nil { panic(err) }; return n }
func main() { data, _ := os.ReadFile("normals.f32"); table, err := sampler.Table(data); if err != nil { panic(err) }
  for i := int64(0); i < number(os.Args[3]); i++ {
    made := sampler.Normals(table, number(os.Args[1]), uint64(number(os.Args[2])+i), int(number(os.Args[4])))
    binary.Write(os.Stdout, binary.LittleEndian, made) } }"""

WARNINGS = ("-O2", "-Wall", "-Wextra", "-pedantic", "-Werror")
BUILDS: dict[str, tuple[str, dict[str, str], list[list[str]], list[str]]] = {
    # the compiler, further files, what builds, what runs
    "C": ("gcc", {"main.c": C}, [["gcc", "-std=c99", *WARNINGS, "main.c"]], ["./a.out"]),
    "C#": ("mcs", {"Program.cs": CS}, [["mcs", "-langversion:7", "Program.cs", "Sampler.cs"]], ["mono", "Program.exe"]),
    "Java": ("javac", {"Program.java": JAVA}, [["javac", "Program.java", "Sampler.java"]], ["java", "Program"]),
    "Rust": ("rustc", {"main.rs": RUST}, [["rustc", "-O", "main.rs"]], ["./main"]),
    "Go": ("go", {"main.go": GO, "go.mod": "module program\n"}, [["mkdir", "sampler"], ["mv", "sampler.go", "sampler"],
           ["go", "build", "-o", "program"]], ["./program"]),
}  # fmt: skip


@pytest.fixture
def samplers(tmp_path: Path) -> Path:
    write_samplers(tmp_path / "samplers")
    return tmp_path / "samplers"


@pytest.mark.parametrize("language", [pytest.param(n, marks=[pytest.mark.slow] * (n != "C")) for n in BUILDS])
def test_the_same_bits(language: str, samplers: Path) -> None:
    compiler, sources, builds, program = BUILDS[language]
    if not shutil.which(compiler):
        pytest.skip(f"there is no {compiler}")
    for name, text in sources.items():
        (samplers / name).write_text(text)
    for build in builds:
        done = subprocess.run(build, cwd=samplers, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    for seed, first, count, size in ASKED:
        done = subprocess.run([*program, *map(str, (seed, first, count, size))], cwd=samplers, capture_output=True)
        assert done.returncode == 0, done.stderr
        made = np.frombuffer(done.stdout, "<f4").reshape(count, size)
        np.testing.assert_array_equal(made, latents.normals(seed, np.arange(first, first + count), size))


SHADER = """@group(0) @binding(0) var<storage, read_write> made: array<u32>;
@group(0) @binding(1) var<uniform> asked: array<vec4u, 2>; // seed and index (low, high each), then size
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let size = asked[1].x;
  if (id.x < size) { made[id.x] = sampler_place(sampler_key(asked[0].xy), asked[0].zw, id.x, size); }
}"""
RUN = """async ([code, seed, index, size]) => {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return null;
  const device = await adapter.requestDevice();
  const module = device.createShaderModule({ code });
  const problems = (await module.getCompilationInfo()).messages.filter((m) => m.type === "error").map((m) => m.message);
  if (problems.length) throw new Error(problems.join());
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
  const made = device.createBuffer({ size: 4 * size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const read = device.createBuffer({ size: 4 * size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const asked = device.createBuffer({ size: 32, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  const parts = (n) => [Number(BigInt.asUintN(32, n)), Number(BigInt.asUintN(32, n >> 32n))];
  device.queue.writeBuffer(asked, 0, new Uint32Array([...parts(BigInt(seed)), ...parts(BigInt(index)), size, 0, 0, 0]));
  const entries = [made, asked].map((buffer, binding) => ({ binding, resource: { buffer } }));
  const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(Math.ceil(size / 64));
  pass.end();
  encoder.copyBufferToBuffer(made, 0, read, 0, 4 * size);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(GPUMapMode.READ);
  return [...new Uint32Array(read.getMappedRange())];
}"""


@pytest.mark.slow
def test_a_shader_draws_the_same(samplers: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not shutil.which("chromium"):
        pytest.skip("there is no chromium")
    code = (samplers / "sampler.wgsl").read_text() + SHADER
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", "--no-sandbox"]
    (samplers / "empty.html").write_text("<!doctype html>")
    with sync_api.sync_playwright() as play, hosts.served(samplers) as address:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page()
        page.goto(f"{address}empty.html")
        for seed, first, _, size in ASKED:
            places = page.evaluate(RUN, [code, str(seed), str(first), size])
            if places is None:
                pytest.skip("this chromium has no WebGPU adapter")
            wanted = latents.normals(seed, np.array([first]), size)[0]
            np.testing.assert_array_equal(latents.table()[np.array(places)], wanted)
        browser.close()


def test_the_page_has_right_examples() -> None:
    """docs/sampler.md: keys, integers and normals of the table there."""
    text = PAGE.read_text(encoding="utf-8")
    keys = re.findall(r"^\| `(-?\d+)` \| `0x([0-9A-F]{16})` \|", text, re.MULTILINE)
    assert len(keys) >= 3
    for seed, key in keys:
        assert int(latents.key_from_seed(int(seed))) == int(key, 16)
    drawn = re.findall(r"^\| `(-?\d+)` \| `(\d+)` \| `(\d+)` \| `([^`]*)` \| `([^`]*)` \|", text, re.MULTILINE)
    assert len(drawn) >= 3
    for seed, index, size, integers, numbers in drawn:
        at, count = np.array([int(index)]), int(size)
        made = latents.integers(int(seed), at, latents.counters(count))[0]
        assert [f"{n:08X}" for n in made[: len(integers.split())]] == integers.split()
        normals = latents.normals(int(seed), at, count)[0]
        assert [np.float32(n) for n in numbers.split()] == normals[: len(numbers.split())].tolist()
