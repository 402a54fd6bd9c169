// The generator of an app kit in Node, told as program.py is: node program.mjs KIT THREADS
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [kit, threads] = process.argv.slice(2);
const { Generator } = await import(pathToFileURL(`${kit}/node/generator.mjs`));
const options = Number(threads) ? { intraOpNumThreads: Number(threads) } : {};
const generator = await Generator.open(undefined, options);

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...given] = line.split(" ");
  if (command === "make") {
    const [count, seed, first] = given.map((value, i) => (i < 3 ? BigInt(value) : 0n));
    const { data } = await generator.sample({ count, seed, first });
    writeFileSync(given.slice(3).join(" "), data);
    console.log("done");
  } else {
    const [batch, runs] = given.map(Number);
    const spent = [];
    for (let run = 0; run < runs; run++) {
      const began = performance.now();
      await generator.sample({ count: batch, seed: 1, first: run * batch });
      spent.push(performance.now() - began);
    }
    console.log(spent.map((ms) => ms.toFixed(4)).join(" "));
  }
}
